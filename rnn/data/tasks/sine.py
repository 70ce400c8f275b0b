"""Sine: one number sets a frequency, and the network then oscillates by itself."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator

from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.randomness.streams import Draws
from unroll.contract import Architecture
from unroll.contract.limits import MAX_LENGTH

Period = Annotated[float, Field(ge=2, le=MAX_LENGTH)]


class Sine(SequenceTask):
    """x[1] = u ~ U(-1, 1);  y[t] = sin(2π f t), t = 1 … T, with the frequency f = f₀ + u w.

    f lies between 1 / longest_period and 1 / shortest_period: f₀ and w are half the sum and half the difference of
    these. Predicting zero costs E[sin²(2π f t)] = (1 - cos(4π f₀ t) sin(4π w t) / (4π w t)) / 2 at step t.
    """

    name: ClassVar[str] = "sine"
    group: ClassVar[str] = "timing"
    origin: ClassVar[str] = "Sussillo & Barak 2013, Opening the black box"
    description: ClassVar[str] = "Oscillate: the input at the first step sets the frequency of the sine wave to write."
    predictor: ClassVar[str] = "zero"
    formula: ClassVar[str] = (
        "mean over t = 1 … length of (1 - cos(4π f t) sin(4π w t) / (4π w t)) / 2, "
        "f, w = (1 / shortest_period ± 1 / longest_period) / 2"
    )
    architectures: ClassVar[tuple[Architecture, ...]] = ("one_to_many",)

    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] = 20
    """Number of output steps, T."""
    shortest_period: Period = 8.0
    """Period of the highest frequency in time steps, where the input is 1."""
    longest_period: Period = 16.0
    """Period of the lowest frequency in time steps, where the input is -1."""

    @field_validator("longest_period")
    @classmethod
    def _at_least_shortest(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("shortest_period", value):
            raise ValueError(f"{value} is less than shortest_period {info.data['shortest_period']}")
        return value

    @property
    def input_steps(self) -> int:
        """Number of input steps: 1."""
        return 1

    @property
    def output_steps(self) -> int:
        """Number of output steps, T."""
        return self.length

    @property
    def input_size(self) -> int:
        """Width of the inputs: 1."""
        return 1

    @property
    def output_size(self) -> int:
        """Width of the outputs: 1."""
        return 1

    @property
    def input_names(self) -> list[str]:
        """What sets the frequency."""
        return ["frequency"]

    @property
    def target_names(self) -> list[str]:
        """The wave."""
        return ["wave"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return E[y²] at each step. np.sinc(a) is sin(πa) / (πa)."""
        del loss
        centre, half = self._frequencies()
        t = np.arange(1, self.length + 1)
        costs_T: npt.NDArray[np.float64] = (1 - np.cos(4 * np.pi * centre * t) * np.sinc(4 * half * t)) / 2
        return costs_T

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw one number for each sequence, and its sine wave."""
        for generator, x_1BI in zip(draws, batch.x_RTBI, strict=True):
            x_1BI[...] = 2 * generator.random(x_1BI.shape, dtype=np.float32) - 1
        centre, half = self._frequencies()
        angle_R1BI = 2 * np.pi * (centre + half * batch.x_RTBI.astype(np.float64))
        for t in range(1, self.length + 1):
            batch.target_RTBO[:, t - 1] = np.sin(angle_R1BI[:, 0] * t)

    def _frequencies(self) -> tuple[float, float]:
        high, low = 1 / self.shortest_period, 1 / self.longest_period
        return (high + low) / 2, (high - low) / 2
