"""Copy memory: symbols are read, a long delay follows, and after a delimiter they are written in order."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.randomness.streams import Draws
from unroll.contract import Architecture


class CopyMemory(SequenceTask):
    """x: S symbols of K kinds, D - 1 blanks (token K), a delimiter (K + 1), S blanks;  y: D + S blanks, the S symbols.

    Every step counts, so a network first learns to write blanks. Writing blanks and then equal probabilities, which
    needs no memory, costs S ln K / (D + 2 S): 10 ln 8 / (D + 20) in the publication. `recall` is the same problem where
    only the steps of recall count.
    """

    name: ClassVar[str] = "copy_memory"
    group: ClassVar[str] = "memory"
    description: ClassVar[str] = (
        "Copy memory: read symbols, write blanks over a long delay, and after a delimiter write the symbols in order. "
        "Every step counts."
    )
    origin: ClassVar[str] = "Arjovsky, Shah & Bengio 2016, Unitary evolution recurrent neural networks"
    predictor: ClassVar[str] = "blanks, then equal probabilities"
    formula: ClassVar[str] = "items ln(symbols) / (delay + 2 items)"
    architectures: ClassVar[tuple[Architecture, ...]] = ("many_to_many",)
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy",)

    symbols: Annotated[int, Field(ge=2, le=1_000)] = 8
    """Number of different symbols, K."""
    items: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Number of symbols in each sequence, S."""
    delay: Annotated[int, Field(ge=1, le=50_000)] = 20
    """Number of time steps from the last symbol to the delimiter, D."""

    @property
    def input_steps(self) -> int:
        """Number of input steps, D + 2 S."""
        return self.delay + 2 * self.items

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens: the symbols, a blank and the delimiter."""
        return self.symbols + 2

    @property
    def input_size(self) -> int:
        """Width of one-hot tokens."""
        return self.vocabulary_size

    @property
    def output_size(self) -> int:
        """Width of the outputs: a class for each symbol, and the blank."""
        return self.symbols + 1

    @property
    def input_names(self) -> list[str]:
        """The tokens."""
        return [*self.target_names, "delimiter"]

    @property
    def target_names(self) -> list[str]:
        """The classes."""
        return [*(str(symbol) for symbol in range(1, self.symbols + 1)), "blank"]

    @property
    def chance(self) -> float:
        """The accuracy of the trivial predictor, which has all blanks right."""
        return (self.delay + self.items + self.items / self.symbols) / self.input_steps

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return zero, and the entropy of a symbol at the last S steps, in nats."""
        del loss
        return np.where(np.arange(self.input_steps) >= self.delay + self.items, np.log(self.symbols), 0.0)

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw symbols, blanks and the delimiter, and one-hot targets."""
        S, recall = self.items, self.items + self.delay
        batch.x_RTBI[:, S:] = self.symbols
        batch.x_RTBI[:, recall - 1] = self.symbols + 1
        batch.target_RTBO.fill(0.0)
        batch.target_RTBO[:, :recall, :, self.symbols] = 1.0
        for generator, x_TB1, y_TBO in zip(draws, batch.x_RTBI, batch.target_RTBO, strict=True):
            symbol_SB1 = generator.integers(0, self.symbols, (S, *x_TB1.shape[1:]))
            x_TB1[:S] = symbol_SB1
            np.put_along_axis(y_TBO[recall:], symbol_SB1, 1.0, axis=-1)
