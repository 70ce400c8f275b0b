"""Temporal order: two symbols among distractors, far apart, and their order is the class of the sequence."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.source import Batch
from rnn.data.tasks.lengths import AnyLength
from rnn.randomness.streams import Draws
from unroll.contract import Architecture
from unroll.contract.limits import MAX_LENGTH

_DISTRACTORS, _BEGIN, _END, _X = 4, 4, 5, 6


class TemporalOrder(AnyLength):
    """x: a beginning, distractors a, b, c, d, an end; X or Y stands at two steps;  y: which of XX, XY, YX, YY it was.

    In a sequence of T steps the first of the two stands at a step from ⌊T/10⌋ to ⌊2T/10⌋ and the second from ⌊5T/10⌋ to
    ⌊6T/10⌋, counted from 0, all equally likely. In the publication T is 100 to 110. The classes are equally likely, so
    predicting equal probabilities costs ln 4.
    """

    name: ClassVar[str] = "temporal_order"
    group: ClassVar[str] = "memory"
    description: ClassVar[str] = (
        "Temporal order: among distractors stand two symbols, each X or Y, and the class of the sequence is their "
        "order (XX, XY, YX or YY)."
    )
    origin: ClassVar[str] = "Hochreiter & Schmidhuber 1997, Long short-term memory, experiment 6a"
    predictor: ClassVar[str] = "equal probabilities"
    formula: ClassVar[str] = "ln 4"
    architectures: ClassVar[tuple[Architecture, ...]] = ("many_to_one",)
    losses: ClassVar[tuple[str, ...]] = ("cross_entropy",)

    length: Annotated[int, Field(ge=10, le=MAX_LENGTH)] = 30
    """Number of time steps in each sequence, T; with min_length, in the longest sequence."""
    min_length: Annotated[int, Field(ge=10, le=MAX_LENGTH)] | None = None
    """Number of time steps in the shortest sequence. null: all sequences have `length` steps."""

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens: 8."""
        return 8

    @property
    def input_size(self) -> int:
        """Width of one-hot tokens."""
        return 8

    @property
    def output_size(self) -> int:
        """Width of the outputs: 4 classes."""
        return 4

    @property
    def input_names(self) -> list[str]:
        """The tokens."""
        return ["a", "b", "c", "d", "begin", "end", "X", "Y"]

    @property
    def target_names(self) -> list[str]:
        """The classes."""
        return ["XX", "XY", "YX", "YY"]

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the entropy of a class, in nats."""
        del loss
        return np.full(self.length, np.log(4))

    def draw(self, draws: Draws, batch: Batch) -> None:
        """Draw distractors, and two symbols at places within each sequence's own length."""
        batch.target_RTBO.fill(0.0)
        for r, generator in enumerate(draws):
            token_TB, target_TBO = batch.x_RTBI[r, ..., 0], batch.target_RTBO[r]
            sequences = np.arange(token_TB.shape[1])
            valid_B = self.length if batch.length_RB is None else batch.length_RB[r]
            token_TB[...] = generator.integers(0, _DISTRACTORS, token_TB.shape, dtype=np.int8)
            class_B = generator.integers(0, 4, len(sequences), dtype=np.int8)
            for begin, symbol_B in ((1, class_B >> 1), (5, class_B & 1)):
                first_B, last_B = begin * valid_B // 10, (begin + 1) * valid_B // 10
                place_B = generator.integers(first_B, last_B + 1, len(sequences))
                token_TB[place_B, sequences] = _X + symbol_B
            token_TB[0] = _BEGIN
            token_TB[valid_B - 1, sequences] = _END
            target_TBO[:, sequences, class_B] = 1.0
