"""Perceptual decision: noisy evidence for left and right is accumulated, and the larger one is chosen."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from rnn.data.source import Batch
from rnn.data.tasks.choices import Choice, Coherences, MaybePeriod, Period, least_surprise
from rnn.randomness.streams import Draws
from unroll.contract import Floor


class PerceptualDecision(Choice):
    """x = (fixation, left, right). During the stimulus left = (1 ∓ c) / 2 and right = (1 ± c) / 2;  y: right or left.

    The coherence c is one of a list, equally likely, and the correct side is either, equally likely. Noise N(0, σ²) is
    added to left and right at all steps. Fixation is 1 until the response. Over S steps of stimulus the difference of
    the two sums to N(± c S, 2 S σ²), so that an ideal observer is right with probability Φ(c √(S / 2) / σ).
    """

    name: ClassVar[str] = "perceptual_decision"
    group: ClassVar[str] = "decisions"
    description: ClassVar[str] = (
        "Perceptual decision, as with moving dots: two inputs carry noisy evidence for left and right, and after a "
        "delay the larger one must be told (target 1: right). The coherence is the difference of their means."
    )
    origin: ClassVar[str] = (
        "Song, Yang & Wang 2016, Training excitatory-inhibitory recurrent neural networks for cognitive tasks; "
        "Roitman & Shadlen 2002"
    )

    fixation: MaybePeriod = 5
    """Number of time steps before the stimulus."""
    stimulus: Period = 20
    """Number of time steps of the stimulus, S."""
    delay: MaybePeriod = 5
    """Number of time steps between the stimulus and the response."""
    coherences: Coherences = [0.032, 0.064, 0.128, 0.256, 0.512]
    """Coherences c from 0 (noise alone) to 1. Each trial has one of them."""
    noise: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Standard deviation σ of the noise on each evidence, in each time step."""

    @property
    def before(self) -> int:
        """Number of time steps before the response."""
        return self.fixation + self.stimulus + self.delay

    @property
    def input_size(self) -> int:
        """Width of the inputs: 3."""
        return 3

    @property
    def input_names(self) -> list[str]:
        """The fixation and the two evidences."""
        return ["fixation", "evidence left", "evidence right"]

    @property
    def target_names(self) -> list[str]:
        """The choice."""
        return ["choose right"]

    def floor(self) -> Floor:
        """Return the loss of an observer that sums all evidence."""
        means = [coherence * self.stimulus for coherence in self.coherences]
        loss = least_surprise(means, self.noise * np.sqrt(2 * self.stimulus))
        return Floor(observer="sums right - left, and knows all coherences and the noise", loss=loss, error=0.0)

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw noise, and each trial's coherence and side."""
        x_RTBI, noise = batch.x_RTBI, np.float32(self.noise)
        draws.normals(x_RTBI, np.array([0, noise, noise], np.float32))
        x_RTBI[..., 0] = 0.0
        x_RTBI[:, : self.before, :, 0] = 1.0
        shape = len(x_RTBI), x_RTBI.shape[2]
        which_RB, right_RB = np.empty(shape, np.int64), np.empty(shape, bool)
        for r, generator in enumerate(draws):
            which_RB[r] = generator.integers(0, len(self.coherences), shape[1])
            right_RB[r] = generator.integers(0, 2, shape[1], dtype=np.int8)
        half_RB = np.asarray(self.coherences, np.float32)[which_RB] * (right_RB - np.float32(0.5))
        shown = x_RTBI[:, self.fixation : self.fixation + self.stimulus]
        shown[..., 1] += 0.5 - half_RB[:, None]
        shown[..., 2] += 0.5 + half_RB[:, None]
        self.ask(batch, right_RB)
