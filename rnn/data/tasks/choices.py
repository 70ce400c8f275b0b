"""Base class of tasks whose sequences are trials that end with one choice between two, and an observer of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch

Period = Annotated[int, Field(ge=1, le=10_000)]
MaybePeriod = Annotated[int, Field(ge=0, le=10_000)]
Coherences = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=20)]


class Choice(SequenceTask):
    """A trial with one target, 0 or 1, equally likely. Only the steps of the response, at its end, count in the loss.

    Predicting the probability 1/2 costs ln 2 (bce); predicting the value 1/2 costs 1/4 (mse).
    """

    predictor: ClassVar[str] = "probability 1/2"
    formula: ClassVar[str] = "ln 2"
    losses: ClassVar[tuple[str, ...]] = ("bce", "mse")
    weighted: ClassVar[bool] = True

    response: Period = 5
    """Number of time steps of the response, at the end, during which the choice is asked for."""

    @property
    @abstractmethod
    def before(self) -> int:
        """Number of time steps before the response."""

    @property
    def input_steps(self) -> int:
        """Number of input steps."""
        return self.before + self.response

    @property
    def output_size(self) -> int:
        """Width of the outputs: 1."""
        return 1

    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the entropy of a fair choice in nats (bce), or its variance (mse)."""
        return np.full(self.input_steps, 0.25 if loss == "mse" else np.log(2))

    def weights(self) -> npt.NDArray[np.float64]:
        """Return the weights of the output steps: 1 at the steps of the response, 0 elsewhere."""
        return (np.arange(self.input_steps) >= self.before).astype(np.float64)

    def ask(self, batch: Batch, choice_RB: npt.NDArray[np.bool_]) -> None:
        """Write the choices as targets, 0 before the response, and the weights."""
        batch.target_RTBO[:, : self.before] = 0.0
        batch.target_RTBO[:, self.before :, :, 0] = choice_RB[:, None]
        if batch.weight_RTB is not None:
            batch.weight_RTB[:, : self.before] = 0.0


def least_surprise(means: Sequence[float], sd: float) -> float:
    """Return the mean of -ln P(choice | evidence) for an observer that knows how the evidence e is distributed.

    e ~ N(±m, sd²), with each of the means m equally likely and the sign being the choice. P(+ | e) / P(- | e) is the
    ratio of the two mixtures' densities at e. The integral over e is a sum over 2001 points in ±9 sd, accurate to six
    digits.
    """
    if sd == 0:
        return 0.0
    m_C = np.asarray(means)[:, None] / sd
    z = np.linspace(-9, 9, 2001)
    density = np.exp(-(z**2) / 2)
    losses = []
    for mean in m_C[:, 0]:
        e = mean + z
        right, left = (np.logaddexp.reduce(sign * m_C * e - m_C**2 / 2, axis=0) for sign in (1, -1))
        losses.append(density @ np.logaddexp(0, left - right) / density.sum())
    return float(np.mean(losses))
