"""Path integration: from its speed and heading alone, the network keeps track of where it is."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.source import Batch
from rnn.data.tasks.lengths import AnyLength
from rnn.randomness.normals import running_sum
from rnn.randomness.streams import Draws


class PathIntegration(AnyLength):
    """x[t] = (s[t], cos φ[t], sin φ[t]);  y[t] = y[t-1] + s[t] (cos φ[t], sin φ[t]), y[0] = 0.

    There are no walls. The heading φ[1] is uniform and turns by N(0, σ²) radians in each step; the speed is
    s[t] ~ U(0, 2 m), independent. With ρ = exp(-σ² / 2), the mean cosine of a turn, staying at the start (zero) costs
    half of

        E|y[t]|² = (4/3) m² t + 2 m² Σ_k (t - k) ρᵏ,  k = 1 … t - 1.
    """

    name: ClassVar[str] = "path_integration"
    group: ClassVar[str] = "navigation"
    description: ClassVar[str] = (
        "Path integration: the inputs are speed and heading at each step, and the target is the position in the plane. "
        "The path begins at (0, 0)."
    )
    origin: ClassVar[str] = (
        "Cueva & Wei 2018, Emergence of grid-like representations by training recurrent neural networks to perform "
        "spatial localization"
    )
    predictor: ClassVar[str] = "zero (the start)"
    formula: ClassVar[str] = (
        "mean over t = 1 … length of speed² (2 t / 3 + sum over k = 1 … t - 1 of (t - k) exp(-k turning² / 2))"
    )

    speed: Annotated[float, Field(gt=0, le=100)] = 0.2
    """Mean speed m, in units of length for each time step. Speeds are uniform between 0 and twice as much."""
    turning: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Standard deviation σ of the change of heading in each time step, in radians."""

    @property
    def input_size(self) -> int:
        """Width of the inputs: 3."""
        return 3

    @property
    def output_size(self) -> int:
        """Width of the outputs: 2."""
        return 2

    @property
    def input_names(self) -> list[str]:
        """Speed and heading."""
        return ["speed", "cos heading", "sin heading"]

    @property
    def target_names(self) -> list[str]:
        """The position."""
        return ["position x", "position y"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return half of the mean squared distance from the start."""
        del loss
        t = np.arange(1, self.length + 1)
        # Σ_k (t - k) ρᵏ, k = 1 … t - 1, is a sum of sums: it grows from t to t + 1 by ρ + … + ρᵗ.
        powers_T = np.exp(-(self.turning**2) / 2 * t).cumsum()
        together_T = np.concatenate(([0.0], powers_T[:-1].cumsum()))
        costs_T: npt.NDArray[np.float64] = self.speed**2 * (2 * t / 3 + together_T)
        return costs_T

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw speeds and headings, and add them up."""
        x_RTBI = batch.x_RTBI
        heading_RTB1 = np.empty((*x_RTBI.shape[:3], 1), np.float32)
        draws.normals(heading_RTB1)
        heading_RTB1 *= np.float32(self.turning)
        speed_RTB = np.empty(x_RTBI.shape[:3], np.float32)
        for r, generator in enumerate(draws):
            heading_RTB1[r, 0, :, 0] = generator.random(x_RTBI.shape[2], dtype=np.float32) * np.float32(2 * np.pi)
            generator.random(dtype=np.float32, out=speed_RTB[r])
        running_sum(heading_RTB1, heading_RTB1)
        speed_RTB *= np.float32(2 * self.speed)
        x_RTBI[..., 0] = speed_RTB
        for i, part in enumerate((np.cos, np.sin)):
            x_RTBI[..., 1 + i] = part(heading_RTB1[..., 0])
        np.multiply(x_RTBI[..., :1], x_RTBI[..., 1:], out=batch.target_RTBO)
        running_sum(batch.target_RTBO, batch.target_RTBO)
