"""Oculomotor integration: commands for saccades move the eye, and the network holds it still, in dark and light."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator

from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.randomness.streams import Draws


class Oculomotor(SequenceTask):
    """E epochs of D steps. In epoch e the eye moves from p[e-1] to p[e] ~ U(-1, 1), independent, and stays; p[0] = 0.

    Inputs: the command (p[e] - p[e-1]) / S in the first S steps of the epoch, 0 afterwards; the eye's position as it is
    seen, 0 in the dark; whether there is light. Each epoch is light or dark by itself. Target: the eye's position,

        y = p[e-1] + (p[e] - p[e-1]) min(k / S, 1)        at step k = 1 … D of epoch e.

    Looking straight ahead (zero) costs E[p²] = 1/3 while a position is held, and during a saccade, with f = k / S,
    ((1 - f)² + f²) / 3, or f² / 3 in the first epoch.
    """

    name: ClassVar[str] = "oculomotor"
    group: ClassVar[str] = "integration"
    description: ClassVar[str] = (
        "Hold the eye still: pulses command saccades, and the target is the eye's position after all of them. In the "
        "light the position is also seen, in the dark it is only remembered. Positions from -1 (left) to 1 (right)."
    )
    origin: ClassVar[str] = "Seung 1996, How the brain keeps the eyes still"
    predictor: ClassVar[str] = "straight ahead (zero)"
    formula: ClassVar[str] = (
        "1 / 3, but at step k < saccade of an epoch ((1 - f)² + f²) / 3, in the first epoch f² / 3, f = k / saccade; "
        "mean over all steps"
    )

    epochs: Annotated[int, Field(ge=1, le=100)] = 4
    """Number of epochs, E. Each begins with a saccade."""
    epoch_length: Annotated[int, Field(ge=1, le=1_000)] = 15
    """Number of time steps in each epoch, D."""
    saccade: Annotated[int, Field(ge=1, le=1_000)] = 2
    """Number of time steps that the command and the movement of a saccade take, S."""
    light: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability that an epoch is in the light."""

    @field_validator("saccade")
    @classmethod
    def _within_epoch(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("epoch_length", value):
            raise ValueError(f"{value} is greater than epoch_length {info.data['epoch_length']}")
        return value

    @property
    def input_steps(self) -> int:
        """Number of input steps, E D."""
        return self.epochs * self.epoch_length

    @property
    def input_size(self) -> int:
        """Width of the inputs: 3."""
        return 3

    @property
    def output_size(self) -> int:
        """Width of the outputs: 1."""
        return 1

    @property
    def input_names(self) -> list[str]:
        """The command, what is seen, and the light."""
        return ["saccade command", "position seen", "light"]

    @property
    def target_names(self) -> list[str]:
        """The eye's position."""
        return ["eye position"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the variance of the eye's position."""
        del loss
        moved_D = self._moved()
        costs_ED = np.tile(((1 - moved_D) ** 2 + moved_D**2) / 3, (self.epochs, 1))
        costs_ED[0] = moved_D**2 / 3
        return costs_ED.reshape(-1)

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw a position and the light of each epoch."""
        R, _, B, _ = batch.x_RTBI.shape
        E, D, S = self.epochs, self.epoch_length, self.saccade
        position_REB, light_REB = np.zeros((R, E + 1, B), np.float32), np.empty((R, E, B), bool)
        for r, generator in enumerate(draws):
            position_REB[r, 1:] = 2 * generator.random((E, B), dtype=np.float32) - 1
            light_REB[r] = generator.random((E, B), dtype=np.float32) < self.light
        step_REB, moved_D1 = np.diff(position_REB, axis=1), self._moved().astype(np.float32)[:, None]
        for e in range(E):
            x_RDBI, light_R1B = batch.x_RTBI[:, e * D : (e + 1) * D], light_REB[:, e, None]
            eye_RDB = position_REB[:, e, None] + step_REB[:, e, None] * moved_D1
            batch.target_RTBO[:, e * D : (e + 1) * D, :, 0] = eye_RDB
            x_RDBI[:, :S, :, 0] = step_REB[:, e, None] / np.float32(S)
            x_RDBI[:, S:, :, 0] = 0.0
            x_RDBI[..., 1] = 0.0
            np.copyto(x_RDBI[..., 1], eye_RDB, where=light_R1B)
            x_RDBI[..., 2] = light_R1B

    def _moved(self) -> npt.NDArray[np.float64]:
        """Return the fraction of its way that a saccade has made, at each step of an epoch."""
        moved_D: npt.NDArray[np.float64] = np.minimum(np.arange(1, self.epoch_length + 1) / self.saccade, 1)
        return moved_D
