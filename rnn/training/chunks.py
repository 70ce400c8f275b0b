"""How many held-out sequences are evaluated at a time. NumPy only, for estimates."""

from __future__ import annotations

_CHUNK = 1 << 22
"""Hidden values of one trajectory worked on at a time: bounds memory. A constant, so that results do not depend on
free memory."""


def chunk_size(replicas: int, time_steps: int, sequences: int, hidden_size: int) -> int:
    """Sequences that are evaluated at a time: equal chunks, as few as the bound allows."""
    largest = max(1, min(sequences, _CHUNK // (replicas * time_steps * hidden_size)))
    chunks = -(-sequences // largest)
    return -(-sequences // chunks)
