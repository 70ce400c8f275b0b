"""Integrate white noise with a leak: the network keeps a sum that is forgotten with a time constant."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.recursions import leaky_sum
from rnn.data.source import Batch
from rnn.data.tasks.lengths import AnyLength
from rnn.randomness.streams import Draws


class IntegrateLeaky(AnyLength):
    """x[t] ~ N(0, 1), independent;  y[t] = a y[t-1] + x[t], y[0] = 0, a = exp(-1 / τ).

    Predicting zero costs E[y[t]²] = 1 + a² + … + a^(2(t-1)) = (1 - a²ᵗ) / (1 - a²). For large τ the task becomes
    integrate_noise.
    """

    name: ClassVar[str] = "integrate_leaky"
    group: ClassVar[str] = "integration"
    description: ClassVar[str] = (
        "Leaky integration: the target is the sum of white noise x ~ N(0, 1), in which old inputs are forgotten with "
        "the time constant tau."
    )
    origin: ClassVar[str] = "Cannon, Robinson & Shamma 1983, A proposed neural network for the integrator"
    predictor: ClassVar[str] = "zero"
    formula: ClassVar[str] = "mean over t = 1 … length of (1 - exp(-2 t / tau)) / (1 - exp(-2 / tau))"

    tau: Annotated[float, Field(ge=0.1, le=10_000)] = 10.0
    """Time constant τ in time steps, after which a fraction 1/e of an input is left."""

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
        """The leaky integral."""
        return ["leaky sum of x"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the variance of the leaky sum."""
        del loss
        t = np.arange(1, self.length + 1)
        costs_T: npt.NDArray[np.float64] = np.expm1(-2 * t / self.tau) / np.expm1(-2 / self.tau)
        return costs_T

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw white noise and its leaky sum."""
        draws.normals(batch.x_RTBI)
        leaky_sum(batch.x_RTBI, float(np.exp(-1 / self.tau)), batch.target_RTBO)
