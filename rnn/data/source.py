"""What every source of sequences offers, and the memory that it fills.

A source is where a job's sequences come from. Training, evaluation and the estimates of costs know no more of it than
`Source` says; the built-in tasks (`rnn.data.sequences.SequenceTask`) are one kind of source. NumPy only.

Sequences may differ in length: they lie at the beginning of their memory, and what comes after them is padding, whose
values never matter. Lengths and weights become one number for each output step, how often it counts in the loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.randomness.streams import Draws, Purpose
from unroll.contract import Architecture, HeldOut, Loss, TaskData

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Memory for the sequences of R replicas. Input and output steps are as many as the longest sequence has."""

    x_RTBI: Array
    """Inputs. Tokens are numbers 0 … V-1, I = 1."""
    target_RTBO: Array
    """Targets: numbers, class probabilities, probabilities or counts, as the loss wants them."""
    weight_RTB: Array | None = None
    """How often each output step counts; None: each counts once."""
    length_RB: npt.NDArray[np.int64] | None = None
    """Valid input steps of each sequence; None: all."""
    target_length_RB: npt.NDArray[np.int64] | None = None
    """Valid output steps; None: as many as input steps, where both are equally many."""


class Source(ABC):
    """A source of sequences whose sizes are known before any is drawn.

    The sequences of a batch depend only on (seed, replica, step), so that resuming a run needs no state of the source.
    """

    @abstractmethod
    def config(self) -> TaskData:
        """Return the configuration that this source is made from, with every parameter written out.

        Two sources with equal configurations give equal sequences. A checkpoint stores it.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that messages call this source by."""

    @property
    @abstractmethod
    def architectures(self) -> tuple[Architecture, ...]:
        """The architectures that its sequences are for, the usual one first."""

    @property
    @abstractmethod
    def losses(self) -> tuple[str, ...]:
        """The types of loss that its targets are for, the usual one first."""

    @property
    @abstractmethod
    def weighted(self) -> bool:
        """Whether `fill` writes weights of its own, beside those that leave padding out."""

    @property
    @abstractmethod
    def input_steps(self) -> int:
        """Input steps of the longest sequence."""

    @property
    def output_steps(self) -> int:
        """Output steps of the longest sequence; here as many as input steps."""
        return self.input_steps

    def steps(self, architecture: Architecture) -> int:
        """T, the time steps that a network runs for the longest sequence; an encoder's and then its decoder's."""
        if architecture == "encoder_decoder":
            return self.input_steps + self.output_steps
        return max(self.input_steps, self.output_steps)

    @property
    def shortest(self) -> int | None:
        """Input steps of the shortest sequence; None: all are equally long."""
        return None

    @property
    def vocabulary_size(self) -> int | None:
        """V, where inputs are tokens."""
        return None

    @property
    @abstractmethod
    def input_size(self) -> int:
        """I, what a network without a vocabulary reads; of tokens it is V, one of which is 1."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """O."""

    def weights(self) -> npt.NDArray[np.float64]:
        """Expected weight of each output step in a sequence of full length, [T]; here 1."""
        return np.ones(self.output_steps)

    @abstractmethod
    def baseline_loss(self, architecture: Architecture | None = None, loss: Loss | None = None) -> float:
        """Return the expected loss of a trivial predictor, as a job with this architecture and loss counts it.

        None: the usual architecture, the usual loss.
        """

    @abstractmethod
    def fill(self, draws: Draws, batch: Batch) -> None:
        """Fill lengths, inputs, targets and weights of R replicas, each from its own draws alone.

        Inputs are drawn as float32 whatever the arrays' dtype, so both precisions see the same sequences. Padded steps
        weigh nothing.
        """

    def fill_held_out(self, draws: Draws, batch: Batch) -> None:
        """Fill a batch with sequences for evaluation, R = 1; here they are drawn as those for training are."""
        self.fill(draws, batch)

    def allocate(
        self, replicas: int, sequences: int, *, dtype: npt.DTypeLike = np.float32, weighted: bool = False
    ) -> Batch:
        """Memory for `fill`: with weights where the source has them, where sequences differ in length, or if asked."""
        lengths = self.shortest is not None
        width = self.input_size if self.vocabulary_size is None else 1
        return Batch(
            np.zeros((replicas, self.input_steps, sequences, width), dtype),
            np.zeros((replicas, self.output_steps, sequences, self.output_size), dtype),
            np.ones((replicas, self.output_steps, sequences), dtype) if self.weighted or lengths or weighted else None,
            np.full((replicas, sequences), self.input_steps, np.int64) if lengths else None,
            np.full((replicas, sequences), self.output_steps, np.int64) if lengths else None,
        )

    def batch(self, seed: int, replica: int, step: int, batch_size: int) -> Batch:
        """Return the sequences of one step, R = 1; they depend on nothing but the arguments."""
        memory = self.allocate(1, batch_size)
        self.fill(Draws(seed, Purpose.BATCHES, [replica]).at(step), memory)
        return memory

    def held_out(self, config: HeldOut) -> Batch:
        """Return the sequences for evaluation, R = 1, from keys that no training stream has."""
        memory = self.allocate(1, config.size)
        self.fill_held_out(Draws(config.seed, Purpose.HELD_OUT), memory)
        return memory
