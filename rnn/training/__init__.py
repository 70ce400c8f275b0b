"""A training run: batches, optimisers, evaluations, stopping, checkpoints, and what a run costs."""
