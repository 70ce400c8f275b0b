"""Integrate white noise: the network must remember the sum of all it has seen (a line attractor does it)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rnn.tasks.sequences import SequenceTask
from unroll.contract.limits import MAX_LENGTH


class IntegrateNoise(SequenceTask):
    """x[t] ~ N(0, 1), independent;  y[t] = x[1] + … + x[t].

    Predicting zero costs E[y[t]²] = t, on average over t = 1 … T exactly (T + 1) / 2.
    """

    name: ClassVar[str] = "integrate_noise"
    description: ClassVar[str] = "Integrate white noise: x ~ N(0, 1), and the target is the running sum of x."
    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 1
    predictor: ClassVar[str] = "zero"
    formula: ClassVar[str] = "(length + 1) / 2"

    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] = 20
    """T, time steps in each sequence."""

    @property
    def time_steps(self) -> int:
        """T."""
        return self.length

    def baseline_loss(self, *, last_only: bool = False) -> float:
        """(T + 1) / 2, the mean of the variances 1 … T of the running sum; T at the last step."""
        return float(self.length) if last_only else (self.length + 1) / 2

    def draw(
        self, generators: Sequence[np.random.Generator], x_RTBI: npt.NDArray[Any], y_RTBO: npt.NDArray[Any]
    ) -> None:
        """White noise and its running sum."""
        for generator, x_TBI in zip(generators, x_RTBI, strict=True):
            if x_TBI.dtype == np.float32 and x_TBI.flags.c_contiguous:
                generator.standard_normal(dtype=np.float32, out=x_TBI)
            else:
                x_TBI[...] = generator.standard_normal(x_TBI.shape, dtype=np.float32)
        # Step by step over all replicas at once: twice as fast as np.cumsum, which walks along the strided axis.
        y_RTBO[:, 0] = x_RTBI[:, 0]
        for t in range(1, self.length):
            np.add(y_RTBO[:, t - 1], x_RTBI[:, t], out=y_RTBO[:, t])
