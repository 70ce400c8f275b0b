"""Flip-flops: the network keeps several bits, each of which is set by pulses on a channel of its own."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.recursions import last_pulse
from rnn.data.source import Batch
from rnn.data.tasks.lengths import AnyLength
from rnn.randomness.streams import Draws
from unroll.contract import Architecture
from unroll.contract.limits import MAX_LENGTH


class FlipFlop(AnyLength):
    """x[t] of each bit is 1 or -1, each with probability p / 2, or 0;  y[t] is the bit's last pulse, 0 before any.

    Predicting zero costs E[y[t]²] = 1 - (1 - p)ᵗ, the probability that there was a pulse. The bits are independent.
    """

    name: ClassVar[str] = "flip_flop"
    group: ClassVar[str] = "memory"
    description: ClassVar[str] = (
        "Flip-flops: each bit has an input with rare pulses of 1 or -1, and the target is the sign of its last pulse."
    )
    origin: ClassVar[str] = "Sussillo & Barak 2013, Opening the black box"
    predictor: ClassVar[str] = "zero"
    formula: ClassVar[str] = "mean over t = 1 … length of 1 - (1 - pulse_probability)^t"
    architectures: ClassVar[tuple[Architecture, ...]] = ("many_to_many",)

    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] = 50
    """Number of time steps in each sequence, T; with min_length, in the longest sequence."""
    bits: Annotated[int, Field(ge=1, le=100)] = 3
    """Number of bits, each with an input and an output."""
    pulse_probability: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Probability p of a pulse in each time step, for each bit."""

    @property
    def input_size(self) -> int:
        """Width of the inputs: one for each bit."""
        return self.bits

    @property
    def output_size(self) -> int:
        """Width of the outputs: one for each bit."""
        return self.bits

    @property
    def input_names(self) -> list[str]:
        """The pulses of each bit."""
        return [f"pulses {bit}" for bit in range(1, self.bits + 1)]

    @property
    def target_names(self) -> list[str]:
        """The bits."""
        return [f"bit {bit}" for bit in range(1, self.bits + 1)]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the probability that a bit was set."""
        del loss
        costs_T: npt.NDArray[np.float64] = 1 - (1 - self.pulse_probability) ** np.arange(1.0, self.length + 1)
        return costs_T

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw pulses, and what they leave behind."""
        drawn_RTBI = np.empty(batch.x_RTBI.shape, np.float32)
        for generator, drawn_TBI in zip(draws, drawn_RTBI, strict=True):
            generator.random(dtype=np.float32, out=drawn_TBI)
        half = np.float32(self.pulse_probability / 2)
        pulse_RTBI = (drawn_RTBI < half).view(np.int8) - (drawn_RTBI >= 1 - half).view(np.int8)
        batch.x_RTBI[...] = pulse_RTBI
        last_pulse(pulse_RTBI, batch.target_RTBO)
