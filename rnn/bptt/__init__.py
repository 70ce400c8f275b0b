"""Backpropagation through time by hand: loss, gradients, constraints and penalties of R replicas at once."""
