"""Reverse: read a sequence of symbols to its end, then write it backwards (or as it was)."""

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

    Equal probabilities cost ln K at every step. (Sutskever, Vinyals & Le 2014: reversed, the last read is written
    first, which is the easier order.)
    """

    name: ClassVar[str] = "reverse"
    description: ClassVar[str] = "Sequence to sequence: read symbols, then write them backwards, or in the same order."
    predictor: ClassVar[str] = "equal probabilities"
    formula: ClassVar[str] = "ln(symbols)"
    architectures: ClassVar[tuple[Architecture, ...]] = ("encoder_decoder",)
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy",)

    length: Annotated[int, Field(ge=1, le=10_000)] = 5
    """T, symbols in each sequence; with min_length in the longest."""
    symbols: Annotated[int, Field(ge=2, le=1_000)] = 8
    """K, kinds of symbols."""
    order: Literal["backwards", "same"] = "backwards"
    """The order in which they are written: backwards, or the same."""

    @property
    def vocabulary_size(self) -> int:
        """K."""
        return self.symbols

    @property
    def input_size(self) -> int:
        """One-hot symbols."""
        return self.symbols

    @property
    def output_size(self) -> int:
        """A class for each kind of symbol."""
        return self.symbols

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """The entropy of a symbol, in nats."""
        del loss
        return np.full(self.length, np.log(self.symbols))

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Symbols, and for each sequence those of its own length in the order wanted."""
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
