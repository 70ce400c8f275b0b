"""Spike counts whose rate follows a leaky integral of the input."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.recursions import leaky_sum
from rnn.data.source import Batch
from rnn.data.tasks.lengths import AnyLength
from rnn.randomness.streams import Draws
from unroll.contract import Architecture

_CELLS = 1 << 16
"""Number of counts that are drawn at once: more would take much memory."""


class PoissonCounts(AnyLength):
    """x[t] ~ N(0, 1);  z[t] = a z[t-1] + √(1 - a²) x[t];  y[t] ~ Poisson(λ exp(g z[t])), independent given x.

    With z[0] = 0 and a = exp(-1 / τ), z[t] is normal with variance 1 - a²ᵗ, so counts have the mean
    m[t] = λ exp(g² (1 - a²ᵗ) / 2). Predicting this rate at every step costs m - m ln m, without the term ln y!, which
    the loss leaves out too.
    """

    name: ClassVar[str] = "poisson_counts"
    group: ClassVar[str] = "neurons"
    origin: ClassVar[str] = (
        "Paninski 2004, Maximum likelihood estimation of cascade point-process neural encoding models"
    )
    description: ClassVar[str] = "Spike counts: a leaky integral of white noise is the logarithm of a Poisson rate."
    predictor: ClassVar[str] = "the mean count of each step"
    formula: ClassVar[str] = "mean over t = 1 … length of m - m ln(m), m = rate exp(gain² (1 - exp(-2 t / tau)) / 2)"
    architectures: ClassVar[tuple[Architecture, ...]] = ("many_to_many",)
    losses: ClassVar[tuple[str, ...]] = ("poisson",)

    rate: Annotated[float, Field(ge=0.001, le=1_000)] = 1.0
    """Mean count λ of a time step where the integral is 0."""
    gain: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Gain g, by which the integral is multiplied in the logarithm of the rate. The variance of the integral tends
    to 1."""
    tau: Annotated[float, Field(ge=0.1, le=10_000)] = 3.0
    """Time constant τ of the integral, in time steps."""

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
        """The count."""
        return ["spikes"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the cost of predicting each step's mean count."""
        del loss
        t = np.arange(1, self.length + 1)
        log_m_T = np.log(self.rate) + self.gain**2 * -np.expm1(-2 * t / self.tau) / 2
        costs_T: npt.NDArray[np.float64] = np.exp(log_m_T) * (1 - log_m_T)
        return costs_T

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw white noise, and counts that follow its leaky integral."""
        x_RTBI = batch.x_RTBI
        draws.normals(x_RTBI)
        R, T, B, _ = x_RTBI.shape
        kept, new = float(np.exp(-1 / self.tau)), np.sqrt(-np.expm1(-2 / self.tau))
        size = max(1, _CELLS // (R * B))
        z_RKBI = np.zeros((R, min(size, T), B, 1))
        for begin in range(0, T, size):
            noise_RKBI = new * x_RTBI[:, begin : begin + size].astype(np.float64)
            noise_RKBI[:, 0] += kept * z_RKBI[:, -1]
            z_RKBI = np.empty(noise_RKBI.shape)
            leaky_sum(noise_RKBI, kept, z_RKBI)
            rate_RKBI = self.rate * np.exp(self.gain * z_RKBI)
            for generator, rate_KBI, y_TBO in zip(draws, rate_RKBI, batch.target_RTBO, strict=True):
                y_TBO[begin : begin + size] = generator.poisson(rate_KBI)
