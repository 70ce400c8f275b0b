"""Delayed match to sample: a sample is shown and kept in mind, and a test is compared with it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from rnn.data.source import Batch
from rnn.data.tasks.choices import Choice, MaybePeriod, Period
from rnn.randomness.streams import Draws


class DelayedMatch(Choice):
    """x[t]: one of K stimuli, one-hot, as the sample and after a delay as the test;  y: whether they are the same.

    They are the same in half of the trials; in the others the test is any other stimulus, equally likely. Noise
    N(0, σ²) is added to all inputs at all steps.
    """

    name: ClassVar[str] = "delayed_match"
    group: ClassVar[str] = "decisions"
    description: ClassVar[str] = (
        "Delayed match to sample: a sample is shown, then nothing, then a test. The target is 1 if the test is the "
        "same as the sample, else 0."
    )
    origin: ClassVar[str] = (
        "Miller, Erickson & Desimone 1996, Neural mechanisms of visual working memory in prefrontal cortex of the "
        "macaque"
    )

    stimuli: Annotated[int, Field(ge=2, le=1_000)] = 4
    """Number of different stimuli, K, each with an input of its own."""
    stimulus: Period = 3
    """Number of time steps for which the sample is shown, and then the test."""
    delay: MaybePeriod = 10
    """Number of time steps between the sample and the test."""
    noise: Annotated[float, Field(ge=0, le=100)] = 0.1
    """Standard deviation σ of the noise on each input, in each time step."""

    @property
    def before(self) -> int:
        """Number of time steps before the response."""
        return 2 * self.stimulus + self.delay

    @property
    def input_size(self) -> int:
        """Width of the inputs: one for each stimulus."""
        return self.stimuli

    @property
    def input_names(self) -> list[str]:
        """The stimuli."""
        return [f"stimulus {stimulus}" for stimulus in range(1, self.stimuli + 1)]

    @property
    def target_names(self) -> list[str]:
        """The choice."""
        return ["match"]

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw noise, and each trial's sample and test."""
        x_RTBI = batch.x_RTBI
        draws.normals(x_RTBI, np.full(self.stimuli, self.noise, np.float32))
        R, _, B, K = x_RTBI.shape
        sample_RB, test_RB = np.empty((R, B), np.int64), np.empty((R, B), np.int64)
        match_RB = np.empty((R, B), bool)
        for r, generator in enumerate(draws):
            sample_RB[r] = generator.integers(0, K, B)
            match_RB[r] = generator.integers(0, 2, B, dtype=np.int8)
            test_RB[r] = generator.integers(1, K, B)  # how far around from the sample another one is
        test_RB = np.where(match_RB, sample_RB, (sample_RB + test_RB) % K)
        for begin, shown_RB in ((0, sample_RB), (self.stimulus + self.delay, test_RB)):
            x_RTBI[:, begin : begin + self.stimulus] += shown_RB[:, None, :, None] == np.arange(K)
        self.ask(batch, match_RB)
