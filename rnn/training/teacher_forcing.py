"""Draws the steps at which a decoder reads the target instead of its own output, addressed like data. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.data.memory import Memory
from rnn.randomness.streams import Purpose, Stream


class TeacherForcing:
    """Draws `forced_RTB` of the memory, if it exists: 1 with the given probability, at each step of each sequence."""

    def __init__(self, probability: float, seed: int, memory: Memory[npt.NDArray[Any]]) -> None:
        self._probability, self._forced_RTB = probability, memory.forced_RTB
        replicas = 0 if memory.forced_RTB is None else len(memory.forced_RTB)
        self._streams = [Stream(seed, Purpose.TEACHER_FORCING, r) for r in range(replicas)]

    def draw(self, step: int) -> None:
        """Draw for the batch of `step`."""
        for r, stream in enumerate(self._streams):
            assert self._forced_RTB is not None  # noqa: S101 - there are streams
            drawn_TB = stream.at(step).random(self._forced_RTB[r].shape, dtype=np.float32)
            self._forced_RTB[r] = drawn_TB < self._probability
