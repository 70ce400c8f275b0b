"""Interval timing: two pulses show an interval, and the network lets the same interval pass once more."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator

from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.randomness.streams import Draws

Interval = Annotated[int, Field(ge=1, le=1_000)]


class IntervalTiming(SequenceTask):
    """x = (ready, set): a pulse of 1 at steps w and w + n;  y[t] = min(max(t - w - n, 0) / n, 1), 1 from "go" on.

    The wait w = 0 … W and the interval n are equally likely ones. Predicting each step's mean target, which no input is
    needed for, costs the variance of y[t], computed over all pairs (w, n).
    """

    name: ClassVar[str] = "interval_timing"
    group: ClassVar[str] = "timing"
    description: ClassVar[str] = (
        "Ready, set, go: two pulses show an interval. From the second one on, the target climbs from 0 to 1, which it "
        "reaches after the same interval."
    )
    origin: ClassVar[str] = "Jazayeri & Shadlen 2010, Temporal context calibrates interval timing"
    predictor: ClassVar[str] = "the mean target of each step"
    formula: ClassVar[str] = "mean over steps of the variance of y[t], exact, over all waits and intervals"

    shortest_interval: Interval = 5
    """Shortest interval, in time steps."""
    longest_interval: Interval = 15
    """Longest interval, in time steps."""
    wait: Annotated[int, Field(ge=0, le=1_000)] = 5
    """Largest number of time steps before "ready", W."""
    hold: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Number of time steps from the last possible "go" to the end, both included."""

    @field_validator("longest_interval")
    @classmethod
    def _at_least_shortest(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("shortest_interval", value):
            raise ValueError(f"{value} is less than shortest_interval {info.data['shortest_interval']}")
        return value

    @property
    def input_steps(self) -> int:
        """Number of input steps, up to the end of the longest trial."""
        return self.wait + 2 * self.longest_interval + self.hold

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
        """The two pulses."""
        return ["ready", "set"]

    @property
    def target_names(self) -> list[str]:
        """What climbs."""
        return ["time since set / interval"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the variance of the target over all waits and intervals."""
        del loss
        steps, intervals = np.arange(self.input_steps), range(self.shortest_interval, self.longest_interval + 1)
        # Without a wait; after a wait of w steps the same comes w steps later. One at a time takes little memory.
        sums_2T = np.zeros((2, self.input_steps))
        for n in intervals:
            climbing_T = np.clip((steps - n) / n, 0, 1)
            sums_2T += climbing_T, climbing_T**2
        before_2T = np.pad(sums_2T.cumsum(1), ((0, 0), (self.wait + 1, 0)))
        mean_T, square_T = (before_2T[:, self.wait + 1 :] - before_2T[:, : self.input_steps]) / (
            len(intervals) * (self.wait + 1)
        )
        costs_T: npt.NDArray[np.float64] = np.maximum(square_T - mean_T**2, 0)
        return costs_T

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw waits and intervals."""
        R, T, B, _ = batch.x_RTBI.shape
        wait_RB, interval_RB = np.empty((R, B), np.int64), np.empty((R, B), np.int64)
        for r, generator in enumerate(draws):
            wait_RB[r] = generator.integers(0, self.wait + 1, B)
            interval_RB[r] = generator.integers(self.shortest_interval, self.longest_interval + 1, B)
        batch.x_RTBI.fill(0.0)
        replicas, sequences = np.arange(R)[:, None], np.arange(B)
        batch.x_RTBI[replicas, wait_RB, sequences, 0] = 1.0
        batch.x_RTBI[replicas, wait_RB + interval_RB, sequences, 1] = 1.0
        climbing_RTB = np.arange(T, dtype=np.float32)[:, None] - (wait_RB + interval_RB)[:, None].astype(np.float32)
        climbing_RTB /= interval_RB[:, None].astype(np.float32)
        batch.target_RTBO[..., 0] = np.clip(climbing_RTB, 0, 1, out=climbing_RTB)
