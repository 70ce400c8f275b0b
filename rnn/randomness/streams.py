"""Counter-based random streams: each draw has an address and does not depend on earlier draws.

Construction, on Philox4x64-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"), as
NumPy implements it:

    key      = (seed, purpose * 2**32 + replica)     two 64-bit words
    counter  = (0, 0, 0, step)                       four 64-bit words, the lowest first

NumPy counts in the lowest word, so each step owns 2**192 blocks of 256 bits, and streams of different (seed, purpose,
replica, step) share no block. Nothing is hashed. No generator state is saved: a stream is resumed by its address.
The n-th array of normals (`Draws.normals`) of a step, n = 0, 1, …, has its own blocks, which start at

    counter  = (0, n, 1, step)

Stability: the bits of Philox are fixed by its definition, and those of `Draws.normals` by `rnn.randomness.normals`.
They are the same on every processor, with or without the native kernel. All other draws come from
`numpy.random.Generator`, which has not changed them since NumPy 1.17 but does not promise to keep them. Tests compare
digests of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.randomness import normals


class Purpose(IntEnum):
    """What a stream is used for.

    The numbers are part of the meaning of every stored result: append new ones, never renumber.
    """

    PARAMETERS = 1
    BATCHES = 2
    HELD_OUT = 3
    NOISE = 4
    CONNECTIVITY = 5
    TEACHER_FORCING = 6


class Stream:
    """The random stream of one (seed, purpose, replica). Moving it to any step takes about a microsecond."""

    def __init__(self, seed: int, purpose: Purpose, replica: int = 0) -> None:
        """The seed lies in [0, 2**64), the replica in [0, 2**32)."""
        if not (0 <= seed < 2**64 and 0 <= replica < 2**32):
            raise ValueError(f"seed {seed} or replica {replica} is out of range")
        self.key = np.array([seed, (purpose << 32) + replica], dtype=np.uint64)
        self._bits = np.random.Philox(key=self.key)
        self._word_bits = np.random.Philox(key=self.key)
        self._generator = np.random.Generator(self._bits)
        # A fresh state, empty buffers included: writing it back also forgets half-used words of an earlier step.
        self._fresh = self._bits.state

    def at(self, step: int) -> np.random.Generator:
        """Return the generator at the start of `step`. It is always the same object, so use it before the next call."""
        self._move(self._bits, 0, 0, step)
        return self._generator

    def words(self, array: int, step: int, n: int) -> npt.NDArray[np.uint64]:
        """Return the first n 64-bit words of an array of normals. The generator of `at` does not move."""
        self._move(self._word_bits, array, 1, step)
        words: npt.NDArray[np.uint64] = self._word_bits.random_raw(n)
        return words

    def _move(self, bits: np.random.Philox, *counter: int) -> None:
        self._fresh["state"]["counter"][1:] = counter
        bits.state = self._fresh


class Draws:
    """The random draws of R replicas at one step: normals for all replicas at once, the rest from each one's generator.

    Iteration gives the replicas' NumPy generators. The first iteration at a step moves them to its start; later ones
    continue where they are.
    """

    def __init__(self, seed: int, purpose: Purpose, replicas: Iterable[int] = (0,), threads: int = 1) -> None:
        """Start at step 0. The seed lies in [0, 2**64), each replica in [0, 2**32).

        The number of threads does not change what is drawn.
        """
        self._threads = threads
        self._streams = [Stream(seed, purpose, replica) for replica in replicas]
        self._keys = np.stack([stream.key for stream in self._streams])
        self.at(0)

    def at(self, step: int) -> Draws:
        """Move to the start of `step` and return this object. Earlier draws make no difference."""
        self._step, self._arrays = step, 0
        self._generators: list[np.random.Generator] = []
        return self

    def __iter__(self) -> Iterator[np.random.Generator]:
        """Iterate over the generators of the replicas."""
        if not self._generators:
            self._generators = [stream.at(self._step) for stream in self._streams]
        return iter(self._generators)

    def normals(self, out: npt.NDArray[Any], scale: npt.NDArray[np.float32] | None = None) -> None:
        """Fill `out` [R, …] with independent standard normals, drawn as float32 whatever the dtype of `out`.

        If `scale` is given, multiply by it; it is as long as the last axis. A replica's normals do not depend on R, and
        a longer array begins with the normals of a shorter one.
        """
        array, self._arrays = self._arrays, self._arrays + 1
        address = self._keys, array, self._step
        if normals.native(*address, out, scale, threads=self._threads):
            return
        drawn = np.empty(out.shape, np.float32)
        if not normals.native(*address, drawn, scale, threads=self._threads):
            rows = drawn.reshape(len(drawn), -1)
            half = -(-rows.shape[1] // 2)
            normals.of_words(np.stack([stream.words(array, self._step, half) for stream in self._streams]), rows)
            if scale is not None:
                drawn *= scale
        out[...] = drawn
