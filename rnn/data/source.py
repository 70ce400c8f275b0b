"""The interface of every source of sequences, and the memory that a source fills.

A job's sequences come from a source. Training, evaluation and cost estimates use only what `Source` offers; the
built-in tasks (`rnn.data.sequences.SequenceTask`) are one kind of source. NumPy only.

Sequences may differ in length. A shorter one fills the beginning of its memory, and padding follows, whose values never
matter. Lengths and weights are combined into one number for each output step: how often it counts in the loss.
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
    """Memory for the sequences of R replicas. It has as many input and output steps as the longest sequence."""

    x_RTBI: Array
    """Inputs. Tokens are numbers 0 … V-1 with I = 1."""
    target_RTBO: Array
    """Targets: numbers, class probabilities, probabilities or counts, depending on the loss."""
    weight_RTB: Array | None = None
    """How often each output step counts; None: each counts once."""
    length_RB: npt.NDArray[np.int64] | None = None
    """Number of valid input steps of each sequence; None: all are valid."""
    target_length_RB: npt.NDArray[np.int64] | None = None
    """Number of valid output steps; None: as many as valid input steps, if a sequence has equally many of both."""


class Source(ABC):
    """A source of sequences whose sizes are known before any sequence is drawn.

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
        """The name of this source in messages."""

    @property
    @abstractmethod
    def architectures(self) -> tuple[Architecture, ...]:
        """The architectures that its sequences suit, the usual one first."""

    @property
    @abstractmethod
    def losses(self) -> tuple[str, ...]:
        """The types of loss that its targets suit, the usual one first."""

    @property
    @abstractmethod
    def weighted(self) -> bool:
        """Whether `fill` writes weights of its own, besides the zeros for padding."""

    @property
    @abstractmethod
    def input_steps(self) -> int:
        """The number of input steps of the longest sequence."""

    @property
    def output_steps(self) -> int:
        """The number of output steps of the longest sequence. By default it equals the number of input steps."""
        return self.input_steps

    def steps(self, architecture: Architecture) -> int:
        """Return T, the time steps that a network runs for the longest sequence.

        For an encoder_decoder T counts the encoder's steps and then the decoder's.
        """
        if architecture == "encoder_decoder":
            return self.input_steps + self.output_steps
        return max(self.input_steps, self.output_steps)

    @property
    def shortest(self) -> int | None:
        """The number of input steps of the shortest sequence; None: all sequences have the same length."""
        return None

    @property
    def vocabulary_size(self) -> int | None:
        """V, the number of tokens, if the inputs are tokens; None otherwise."""
        return None

    @property
    @abstractmethod
    def input_size(self) -> int:
        """I, the input width of a network without a vocabulary. For tokens it is V (one-hot vectors)."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """O, the width of the targets."""

    def weights(self) -> npt.NDArray[np.float64]:
        """Return the expected weight of each output step in a sequence of full length, [T]. By default it is 1."""
        return np.ones(self.output_steps)

    @abstractmethod
    def baseline_loss(self, architecture: Architecture | None = None, loss: Loss | None = None) -> float:
        """Return the expected loss of a trivial predictor, as a job with this architecture and loss computes it.

        None means the usual architecture and the usual loss.
        """

    @abstractmethod
    def fill(self, draws: Draws, batch: Batch) -> None:
        """Fill lengths, inputs, targets and weights of R replicas. Each replica uses only its own draws.

        Inputs are drawn as float32 for every dtype of the arrays, so both precisions get the same sequences. Padded
        steps have weight zero.
        """

    def fill_held_out(self, draws: Draws, batch: Batch) -> None:
        """Fill a batch with sequences for evaluation, R = 1. By default they are drawn like training sequences."""
        self.fill(draws, batch)

    def allocate(
        self, replicas: int, sequences: int, *, dtype: npt.DTypeLike = np.float32, weighted: bool = False
    ) -> Batch:
        """Return memory for `fill`.

        It has weights if the source has them, if sequences differ in length, or if `weighted` asks for them.
        """
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
        """Return the sequences of one step, R = 1. They depend only on the arguments."""
        memory = self.allocate(1, batch_size)
        self.fill(Draws(seed, Purpose.BATCHES, [replica]).at(step), memory)
        return memory

    def held_out(self, config: HeldOut) -> Batch:
        """Return the sequences for evaluation, R = 1, drawn from keys that no training stream uses."""
        memory = self.allocate(1, config.size)
        self.fill_held_out(Draws(config.seed, Purpose.HELD_OUT), memory)
        return memory
