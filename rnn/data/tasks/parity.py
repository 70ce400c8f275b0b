"""Parity: the network keeps one bit in memory, and each input of 1 flips it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from rnn.data.source import Batch
from rnn.data.tasks.lengths import AnyLength
from rnn.randomness.streams import Draws


class Parity(AnyLength):
    """x[t] is 0 or 1, equally likely and independent;  y[t] = (x[1] + … + x[t]) mod 2.

    y[t] is 0 or 1, equally likely, so the best constant prediction is the probability 1/2. It costs ln 2 at every step.
    """

    name: ClassVar[str] = "parity"
    group: ClassVar[str] = "logic"
    origin: ClassVar[str] = "Minsky & Papert 1969, Perceptrons"
    description: ClassVar[str] = "Running parity: x are random bits, and the target is whether the sum so far is odd."
    predictor: ClassVar[str] = "probability 1/2"
    formula: ClassVar[str] = "ln 2"
    losses: ClassVar[tuple[str, ...]] = ("bce",)

    @property
    def input_size(self) -> int:
        """Width of the inputs: 1."""
        return 1

    @property
    def output_size(self) -> int:
        """Width of the outputs: 1."""
        return 1

    @property
    def target_names(self) -> list[str]:
        """The parity."""
        return ["odd so far"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the entropy of a fair bit, in nats."""
        del loss
        return np.full(self.length, np.log(2))

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw bits, and the exclusive or of all bits so far."""
        x_RTBI, y_RTBO = batch.x_RTBI, batch.target_RTBO
        for generator, x_TBI in zip(draws, x_RTBI, strict=True):
            x_TBI[...] = generator.integers(0, 2, x_TBI.shape, dtype=np.int8)
        y_RTBO[:, 0] = x_RTBI[:, 0]
        for t in range(1, self.length):
            np.not_equal(y_RTBO[:, t - 1], x_RTBI[:, t], out=y_RTBO[:, t], casting="unsafe")
