"""Integrate white noise: the network remembers the sum of all its inputs, for example with a line attractor."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from rnn.data.source import Batch
from rnn.data.tasks.lengths import AnyLength
from rnn.randomness.normals import running_sum
from rnn.randomness.streams import Draws


class IntegrateNoise(AnyLength):
    """x[t] ~ N(0, 1), independent;  y[t] = x[1] + … + x[t].

    Predicting zero costs E[y[t]²] = t, which averages over t = 1 … T to exactly (T + 1) / 2.
    """

    name: ClassVar[str] = "integrate_noise"
    group: ClassVar[str] = "integration"
    origin: ClassVar[str] = "the course that this project grew out of"
    description: ClassVar[str] = "Integrate white noise: x ~ N(0, 1), and the target is the running sum of x."
    predictor: ClassVar[str] = "zero"
    formula: ClassVar[str] = "(length + 1) / 2"

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
        """The integral."""
        return ["sum of x"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return t, the variance of the running sum."""
        del loss
        return np.arange(1.0, self.length + 1)

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw white noise and its running sum."""
        draws.normals(batch.x_RTBI)
        running_sum(batch.x_RTBI, batch.target_RTBO)
