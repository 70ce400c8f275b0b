"""How many held-out sequences are evaluated at a time. NumPy only, because cost estimates use it too."""

from __future__ import annotations

_CHUNK = 1 << 22
"""Largest number of hidden values of one trajectory in memory at a time. It is a constant, so that results do not
depend on free memory."""


def chunk_size(replicas: int, time_steps: int, sequences: int, hidden_size: int) -> int:
    """Return how many sequences to evaluate at a time, in the fewest chunks of equal size that the bound allows."""
    largest = max(1, min(sequences, _CHUNK // (replicas * time_steps * hidden_size)))
    chunks = -(-sequences // largest)
    return -(-sequences // chunks)
