"""Sequences: the interface of every source of data, the built-in tasks, and how batches are filled. NumPy only."""
