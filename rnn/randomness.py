"""Counter-based random streams: any draw is addressed, none depends on what was drawn before.

Construction, on Philox4x64-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"), as
NumPy implements it:

    key      = (seed, purpose * 2**32 + replica)     two 64-bit words
    counter  = (0, 0, 0, step)                       four 64-bit words, the lowest first

NumPy counts in the lowest word, so each step owns 2**192 blocks of 256 bits and streams of different (seed, purpose,
replica, step) share none. Nothing is hashed. There is no generator state to save: a stream is resumed by its address.

Stability: the bits of Philox are fixed by its definition. Normal and uniform variates come from `numpy.random.
Generator`, which has drawn them the same way since NumPy 1.17 but does not promise to; tests hold digests of them.
Normals use the ziggurat, whose common path is exact in IEEE arithmetic on every platform; about one draw in 3,000 is
from the tail and goes through the platform's logarithm, where the last bit may differ.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. Numbers are part of every stored result's meaning: append, never renumber."""

    PARAMETERS = 1
    BATCHES = 2
    HELD_OUT = 3
    NOISE = 4
    CONNECTIVITY = 5
    TEACHER_FORCING = 6


class Stream:
    """The random stream of one (seed, purpose, replica), positioned at any step in about a microsecond."""

    def __init__(self, seed: int, purpose: Purpose, replica: int = 0) -> None:
        """Seed in [0, 2**64), replica in [0, 2**32)."""
        if not (0 <= seed < 2**64 and 0 <= replica < 2**32):
            raise ValueError(f"seed {seed} or replica {replica} is out of range")
        self._bits = np.random.Philox(key=np.array([seed, (purpose << 32) + replica], dtype=np.uint64))
        self._generator = np.random.Generator(self._bits)
        # A fresh state, empty buffers included: writing it back also forgets half-used words of an earlier step.
        self._fresh = self._bits.state

    def at(self, step: int) -> np.random.Generator:
        """The generator at the start of `step`. It is the same object each time: use it before the next call."""
        self._fresh["state"]["counter"][3] = step
        self._bits.state = self._fresh
        return self._generator
