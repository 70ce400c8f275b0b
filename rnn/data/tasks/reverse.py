"""Reverse: the network reads a sequence of symbols to its end, then writes it backwards or in the same order."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.source import Batch
from rnn.data.tasks.lengths import AnyLength
from rnn.randomness.streams import Draws
from unroll.contract import Architecture


class Reverse(AnyLength):
    """x[t] is one of K symbols, independent and equally likely, t = 1 … T;  y[t] = x[T + 1 - t], one-hot.

    Predicting equal probabilities costs ln K at every step. Writing backwards is the easier order, because the symbol
    read last is written first (Sutskever, Vinyals & Le 2014).
    """

    name: ClassVar[str] = "reverse"
    group: ClassVar[str] = "sequences"
    origin: ClassVar[str] = "Sutskever, Vinyals & Le 2014, Sequence to sequence learning"
    description: ClassVar[str] = "Sequence to sequence: read symbols, then write them backwards, or in the same order."
    predictor: ClassVar[str] = "equal probabilities"
    formula: ClassVar[str] = "ln(symbols)"
    architectures: ClassVar[tuple[Architecture, ...]] = ("encoder_decoder",)
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy",)

    length: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Number of symbols in each sequence, T; with min_length, in the longest sequence."""
    symbols: Annotated[int, Field(ge=2, le=1_000)] = 8
    """Number of different symbols, K."""
    order: Literal["backwards", "same"] = "backwards"
    """Order in which the symbols are written: backwards, or the same order."""

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, K."""
        return self.symbols

    @property
    def input_size(self) -> int:
        """Width of one-hot symbols."""
        return self.symbols

    @property
    def output_size(self) -> int:
        """Width of the outputs: one class for each symbol."""
        return self.symbols

    @property
    def input_names(self) -> list[str]:
        """The symbols."""
        return self.target_names

    @property
    def target_names(self) -> list[str]:
        """The symbols."""
        return [str(symbol) for symbol in range(1, self.symbols + 1)]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the entropy of a symbol, in nats."""
        del loss
        return np.full(self.length, np.log(self.symbols))

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw symbols, and as targets each sequence's symbols in the requested order."""
        steps = np.arange(self.length)[:, None]
        batch.target_RTBO.fill(0.0)
        for r, generator in enumerate(draws):
            x_TB1 = batch.x_RTBI[r]
            symbol_TB1 = generator.integers(0, self.symbols, x_TB1.shape)
            x_TB1[...] = symbol_TB1
            if self.order == "backwards":
                # A step of padding reads some other step of padding: negative numbers count from the end.
                valid_B = self.length if batch.length_RB is None else batch.length_RB[r]
                back_TB = np.broadcast_to(valid_B - 1 - steps, symbol_TB1.shape[:2])
                symbol_TB1 = np.take_along_axis(symbol_TB1, back_TB[..., None], axis=0)
            np.put_along_axis(batch.target_RTBO[r], symbol_TB1, 1.0, axis=-1)
