"""The adding problem: the network remembers two numbers among many and adds them (Hochreiter & Schmidhuber 1997)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.source import Batch
from rnn.data.tasks.lengths import AnyLength
from rnn.randomness.streams import Draws
from unroll.contract import Architecture
from unroll.contract.limits import MAX_LENGTH


class Adding(AnyLength):
    """x[t] = (u[t], m[t]), u ~ U(0, 1), m = 1 at two random steps and 0 at all others;  y[t] = Σ_t m[t] u[t].

    Predicting the mean, 1, costs the variance of a sum of two uniform numbers, 2 / 12.
    """

    name: ClassVar[str] = "adding"
    group: ClassVar[str] = "memory"
    origin: ClassVar[str] = "Hochreiter & Schmidhuber 1997, Long short-term memory"
    description: ClassVar[str] = "Add two numbers: two numbers of a sequence are marked, and the target is their sum."
    predictor: ClassVar[str] = "one"
    formula: ClassVar[str] = "1 / 6"
    architectures: ClassVar[tuple[Architecture, ...]] = ("many_to_one",)

    length: Annotated[int, Field(ge=2, le=MAX_LENGTH)] = 20
    """Number of time steps in each sequence, T; with min_length, in the longest sequence."""
    min_length: Annotated[int, Field(ge=2, le=MAX_LENGTH)] | None = None
    """Number of time steps in the shortest sequence. null: all sequences have `length` steps."""

    @property
    def input_size(self) -> int:
        """Width of the inputs: a number and a marker."""
        return 2

    @property
    def output_size(self) -> int:
        """Width of the outputs: 1."""
        return 1

    @property
    def input_names(self) -> list[str]:
        """The number and the mark."""
        return ["number", "mark"]

    @property
    def target_names(self) -> list[str]:
        """The sum."""
        return ["sum of the marked"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the variance of the sum."""
        del loss
        return np.full(self.length, 1 / 6)

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw numbers, and markers within each sequence's own length. The sum is the target at every step."""
        for r, generator in enumerate(draws):
            x_TBI = batch.x_RTBI[r]
            sequences = np.arange(x_TBI.shape[1])
            valid_B = np.full(len(sequences), self.length) if batch.length_RB is None else batch.length_RB[r]
            x_TBI[..., 0] = generator.random(x_TBI.shape[:2], dtype=np.float32)
            x_TBI[..., 1] = 0.0
            # A step, and another one that many steps further around the circle: every pair is equally likely.
            first_B = generator.integers(0, valid_B)
            second_B = (first_B + generator.integers(1, valid_B)) % valid_B
            x_TBI[first_B, sequences, 1] = x_TBI[second_B, sequences, 1] = 1.0
            batch.target_RTBO[r, ..., 0] = x_TBI[first_B, sequences, 0] + x_TBI[second_B, sequences, 0]
