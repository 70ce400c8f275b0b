"""Context-dependent integration: the context says which of two noisy evidences counts, and its sign is chosen."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from rnn.data.source import Batch
from rnn.data.tasks.choices import Choice, Coherences, Period, least_surprise
from rnn.randomness.streams import Draws
from unroll.contract import Floor


class ContextIntegration(Choice):
    """x = (motion, colour, motion counts, colour counts);  y: whether the evidence that counts is positive.

    During the stimulus motion and colour have means ±c, independent of each other: sign and coherence c are equally
    likely ones. Noise N(0, σ²) is added to both at all steps. One of the two contexts is 1 throughout, equally likely.
    Over S steps of stimulus the evidence that counts sums to N(± c S, S σ²), so that an ideal observer is right with
    probability Φ(c √S / σ). The other evidence tells nothing.
    """

    name: ClassVar[str] = "context_integration"
    group: ClassVar[str] = "decisions"
    description: ClassVar[str] = (
        "Context-dependent integration: two noisy evidences, motion and colour, are shown together, and a context says "
        "which of them counts. The target is 1 if that one is positive on average, else 0."
    )
    origin: ClassVar[str] = (
        "Mante, Sussillo, Shenoy & Newsome 2013, Context-dependent computation by recurrent dynamics in prefrontal "
        "cortex"
    )

    stimulus: Period = 20
    """Number of time steps of the stimulus, S, from the first one on."""
    coherences: Coherences = [0.05, 0.15, 0.5]
    """Coherences c: distances of an evidence's mean from 0. Each evidence has one of them in each trial."""
    noise: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Standard deviation σ of the noise on each evidence, in each time step."""

    @property
    def before(self) -> int:
        """Number of time steps before the response."""
        return self.stimulus

    @property
    def input_size(self) -> int:
        """Width of the inputs: 4."""
        return 4

    @property
    def input_names(self) -> list[str]:
        """The two evidences and the two contexts."""
        return ["motion", "colour", "motion counts", "colour counts"]

    @property
    def target_names(self) -> list[str]:
        """The choice."""
        return ["choose positive"]

    def floor(self) -> Floor:
        """Return the loss of an observer that sums the evidence that counts."""
        means = [coherence * self.stimulus for coherence in self.coherences]
        loss = least_surprise(means, self.noise * np.sqrt(self.stimulus))
        return Floor(
            observer="sums the evidence that counts, and knows all coherences and the noise", loss=loss, error=0.0
        )

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw noise, and each trial's coherences, signs and context."""
        x_RTBI, noise = batch.x_RTBI, np.float32(self.noise)
        draws.normals(x_RTBI, np.array([noise, noise, 0, 0], np.float32))
        R, _, B, _ = x_RTBI.shape
        which_RB2, bits_RB3 = np.empty((R, B, 2), np.int64), np.empty((R, B, 3), bool)
        for r, generator in enumerate(draws):
            which_RB2[r] = generator.integers(0, len(self.coherences), (B, 2))
            bits_RB3[r] = generator.integers(0, 2, (B, 3), dtype=np.int8)
        mean_RB2 = np.asarray(self.coherences, np.float32)[which_RB2] * np.where(bits_RB3[..., :2], 1, -1)
        x_RTBI[:, : self.stimulus, :, :2] += mean_RB2[:, None]
        colour_RB = bits_RB3[..., 2]
        x_RTBI[..., 2] = ~colour_RB[:, None]
        x_RTBI[..., 3] = colour_RB[:, None]
        self.ask(batch, np.where(colour_RB, bits_RB3[..., 1], bits_RB3[..., 0]))
