"""Sequences: what every source of data offers, the built-in tasks, and how a batch is filled. NumPy only."""
