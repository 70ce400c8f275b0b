"""Integrate white noise: the network must remember the sum of all it has seen (a line attractor does it)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator

from rnn.normals import running_sum
from rnn.randomness import Draws
from rnn.tasks.sequences import Batch, SequenceTask, at_most
from unroll.contract.limits import MAX_LENGTH


class IntegrateNoise(SequenceTask):
    """x[t] ~ N(0, 1), independent;  y[t] = x[1] + … + x[t].

    Predicting zero costs E[y[t]²] = t, on average over t = 1 … T exactly (T + 1) / 2.
    """

    name: ClassVar[str] = "integrate_noise"
    description: ClassVar[str] = "Integrate white noise: x ~ N(0, 1), and the target is the running sum of x."
    predictor: ClassVar[str] = "zero"
    formula: ClassVar[str] = "(length + 1) / 2"

    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] = 20
    """T, time steps in each sequence; with min_length in the longest."""
    min_length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] | None = None
    """Time steps in the shortest sequence; null: all have `length`."""

    @field_validator("min_length")
    @classmethod
    def _at_most_length(cls, value: int | None, info: ValidationInfo) -> int | None:
        return at_most(value, info, "length")

    @property
    def input_steps(self) -> int:
        """T."""
        return self.length

    @property
    def shortest(self) -> int | None:
        """The least T."""
        return self.min_length

    @property
    def input_size(self) -> int:
        """1."""
        return 1

    @property
    def output_size(self) -> int:
        """1."""
        return 1

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """t, the variance of the running sum."""
        del loss
        return np.arange(1.0, self.length + 1)

    def draw(self, draws: Draws, batch: Batch) -> None:
        """White noise and its running sum."""
        draws.normals(batch.x_RTBI)
        running_sum(batch.x_RTBI, batch.target_RTBO)
