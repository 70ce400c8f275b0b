"""What the replicas of a checkpoint say together: the mean or the median of their outputs, and how far they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unroll.contract import Reduction

Array = npt.NDArray[Any]
LEVEL = 0.9
"""Share of the replicas between the 5 % and the 95 % quantile."""


@dataclass(frozen=True, slots=True)
class Reduced:
    """R outputs as one, with an interval around it."""

    centre: Array
    lower: Array
    upper: Array


def reduced(outputs: Array, how: Reduction) -> Reduced:
    """Return the mean ∓ one sample standard deviation, or the median and two quantiles, of outputs [R, ...].

    It is computed in float64, and rounded to the outputs' dtype. Each place is computed for itself and the replicas are
    added in their order, so that no bit depends on how many time steps there are. Where an output of one of the
    replicas is not finite, all three are NaN. One replica alone says nothing of how far it may be wrong: its interval
    is NaN. Quantiles are interpolated linearly (Hyndman and Fan, "Sample quantiles in statistical packages", 1996,
    type 7).
    """
    R, exact = len(outputs), outputs.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if how == "quantiles":
            lower, centre, upper = np.quantile(exact, [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2], axis=0)
        else:
            centre = _sum(exact) / R
            deviation = np.sqrt(_sum((exact - centre) ** 2) / max(R - 1, 1))
            lower, upper = centre - deviation, centre + deviation
        if R == 1:
            lower = upper = np.full_like(centre, np.nan)
        whole = np.isfinite(exact).all(axis=0)
        found = [np.where(whole, one, np.nan).astype(outputs.dtype) for one in (centre, lower, upper)]
    return Reduced(*found)


def _sum(exact: Array) -> Array:
    """Return the sum over replicas. NumPy's own adds in another order where there is one place only."""
    total: Array = np.zeros_like(exact[0])
    for one in exact:
        total += one
    return total
