"""Recall: the network reads symbols, keeps them over a delay, and repeats them in order after a cue."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.randomness.streams import Draws
from unroll.contract import Architecture


class Recall(SequenceTask):
    """x: S symbols of K kinds, D blanks (token K), a cue (token K + 1), S - 1 blanks;  y: the symbols, from the cue on.

    Only the S steps from the cue on count in the loss. This is the copying memory problem of Arjovsky, Shah & Bengio
    (2016), with a cue.

    Symbols are independent and equally likely, so predicting equal probabilities costs ln K at every step that counts.
    """

    name: ClassVar[str] = "recall"
    group: ClassVar[str] = "memory"
    origin: ClassVar[str] = "Arjovsky, Shah & Bengio 2016, Unitary evolution recurrent neural networks, with a cue"
    description: ClassVar[str] = "Copying memory: read symbols, wait, and repeat them in order after a cue."
    predictor: ClassVar[str] = "equal probabilities"
    formula: ClassVar[str] = "ln(symbols)"
    architectures: ClassVar[tuple[Architecture, ...]] = ("many_to_many",)
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy",)
    weighted: ClassVar[bool] = True

    symbols: Annotated[int, Field(ge=2, le=1_000)] = 8
    """Number of different symbols, K."""
    items: Annotated[int, Field(ge=1, le=10_000)] = 3
    """Number of symbols in each sequence, S."""
    delay: Annotated[int, Field(ge=0, le=10_000)] = 5
    """Number of time steps between the last symbol and the cue, D."""

    @property
    def input_steps(self) -> int:
        """Number of input steps, 2 S + D."""
        return 2 * self.items + self.delay

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens: the symbols, a blank and the cue."""
        return self.symbols + 2

    @property
    def input_size(self) -> int:
        """Width of one-hot tokens."""
        return self.vocabulary_size

    @property
    def output_size(self) -> int:
        """Width of the outputs: one class for each symbol."""
        return self.symbols

    @property
    def input_names(self) -> list[str]:
        """The tokens."""
        return [*self.target_names, "blank", "cue"]

    @property
    def target_names(self) -> list[str]:
        """The symbols."""
        return [str(symbol) for symbol in range(1, self.symbols + 1)]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the entropy of a symbol, in nats."""
        del loss
        return np.full(self.input_steps, np.log(self.symbols))

    def weights(self) -> npt.NDArray[np.float64]:
        """Return the weights of the output steps: 1 at the steps of recall, 0 elsewhere."""
        return (np.arange(self.input_steps) >= self.items + self.delay).astype(np.float64)

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw symbols, blanks and the cue; one-hot targets and weights at the steps of recall, zeros elsewhere."""
        S, recall = self.items, self.items + self.delay
        batch.x_RTBI[:, S:] = self.symbols
        batch.x_RTBI[:, recall] = self.symbols + 1
        batch.target_RTBO.fill(0.0)
        for generator, x_TB1, y_TBO in zip(draws, batch.x_RTBI, batch.target_RTBO, strict=True):
            symbol_SB1 = generator.integers(0, self.symbols, (S, *x_TB1.shape[1:]))
            x_TB1[:S] = symbol_SB1
            np.put_along_axis(y_TBO[recall:], symbol_SB1, 1.0, axis=-1)
        if batch.weight_RTB is not None:
            batch.weight_RTB[:, :recall] = 0.0
