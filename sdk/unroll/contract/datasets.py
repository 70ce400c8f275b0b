"""What is known of a fixed set of sequences, whether it was uploaded as a dataset or stands in a job."""

from __future__ import annotations

from typing import Literal

from unroll.contract.base import Response

Split = Literal["train", "validation", "test"]


class Column(Response):
    """A column of a table, or an entry of an array: how its raw values become numbers that a network reads or writes.

    A number x becomes (x - mean) / scale. A class becomes a one-hot vector over `values`, a token its index in them.
    """

    name: str
    type: Literal["number", "class", "token", "text"]
    mean: float = 0.0
    """Mean of the training split, or 0 if the column is not normalised. In raw units."""
    scale: float = 1.0
    """Standard deviation of the training split, or 1 if the column is not normalised. In raw units."""
    values: list[str] = []
    """The words of classes or tokens, in the order of their index."""
    pieces: Literal["bytes", "characters", "words"] | None = None
    """What a text is cut into."""
    unknown: int | None = None
    """Index of the token that stands for unknown ones. null: an unknown token is refused."""


class Encoding(Response):
    """How raw inputs become what a network reads, and how what it writes becomes raw targets again."""

    inputs: list[Column]
    """The columns of the inputs, in order. A column of classes takes as many inputs as it has values."""
    targets: list[Column]
    """The columns of the targets, in order."""


class TrivialLoss(Response):
    """The loss of a predictor that looks at no input, with which a trained network can be compared."""

    predictor: str
    """What it predicts, for example `mean of the training split`."""
    elements: dict[Split, float]
    """Its mean loss over all elements that count, in each split."""
    sequences: dict[Split, float]
    """Its loss summed over steps and outputs, averaged over sequences, in each split."""


class Sequences(Response):
    """What is known of a fixed set of sequences before one of them is read: sizes, and what they suit."""

    splits: dict[Split, int]
    """Number of sequences in each split. A set always has a training split."""
    input_steps: int
    """Number of input steps of the longest sequence."""
    output_steps: int
    """Number of output steps of the longest sequence."""
    shortest: int | None
    """Number of input steps of the shortest sequence; null: all have the same length."""
    input_size: int
    """I, the width of the inputs. For tokens it is the number of tokens (one-hot vectors)."""
    output_size: int
    """O, the width of the targets."""
    vocabulary_size: int | None
    """V, the number of tokens, if inputs are tokens."""
    architectures: list[str]
    """Architectures that the sequences suit, the usual one first."""
    losses: list[str]
    """Types of loss that the targets suit, the usual one first."""
    weighted: bool
    """Whether some steps or sequences count more than others."""
    encoding: Encoding
    baselines: dict[str, TrivialLoss]
    """The trivial predictor for each type of loss; more than one where there are several usual ones (persistence)."""
