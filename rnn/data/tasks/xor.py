"""Exclusive or: the smallest problem that no linear readout of the inputs solves (Minsky & Papert 1969)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.randomness.streams import Draws
from unroll.contract import Architecture


class Xor(SequenceTask):
    """x = (a, b) + noise N(0, σ²), a and b are 0 or 1, equally likely and independent;  y = (a + b) mod 2.

    Predicting the probability 1/2 costs ln 2 (bce); predicting the value 1/2 costs 1/4 (mse).
    """

    name: ClassVar[str] = "xor"
    group: ClassVar[str] = "logic"
    origin: ClassVar[str] = "Minsky & Papert 1969, Perceptrons"
    description: ClassVar[str] = "Exclusive or of two bits, in a single step: it cannot be solved without hidden units."
    predictor: ClassVar[str] = "probability 1/2"
    formula: ClassVar[str] = "ln 2"
    architectures: ClassVar[tuple[Architecture, ...]] = ("one_to_one",)
    losses: ClassVar[tuple[str, ...]] = ("bce", "mse")

    noise: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Standard deviation σ of the noise on each input."""

    @property
    def input_steps(self) -> int:
        """Number of input steps: 1."""
        return 1

    @property
    def input_size(self) -> int:
        """Width of the inputs: 2."""
        return 2

    @property
    def output_size(self) -> int:
        """Width of the outputs: 1."""
        return 1

    @property
    def input_names(self) -> list[str]:
        """The two bits."""
        return ["a", "b"]

    @property
    def target_names(self) -> list[str]:
        """Their exclusive or."""
        return ["a xor b"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the entropy of a fair bit in nats (bce), or its variance (mse)."""
        return np.array([0.25 if loss == "mse" else np.log(2)])

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw bits, their exclusive or, and the noise on the inputs."""
        shape = batch.x_RTBI.shape[1:]
        bits_R1BI = np.stack([generator.integers(0, 2, shape, dtype=np.int8) for generator in draws])
        batch.target_RTBO[..., 0] = bits_R1BI[..., 0] ^ bits_R1BI[..., 1]
        batch.x_RTBI[...] = bits_R1BI
        if self.noise:
            noise_R1BI = np.empty(batch.x_RTBI.shape, np.float32)
            draws.normals(noise_R1BI)
            batch.x_RTBI[...] += np.float32(self.noise) * noise_R1BI
