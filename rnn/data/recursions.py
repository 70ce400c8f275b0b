"""Recursions along time that several tasks need, for all replicas at once. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def leaky_sum(x_RTBI: npt.NDArray[Any], kept: float, sum_RTBI: npt.NDArray[Any]) -> None:
    """Return sum[t] = kept · sum[t-1] + x[t], step by step, in the dtype of the arrays."""
    sum_RTBI[:, 0] = x_RTBI[:, 0]
    before_RBI, *after = sum_RTBI.swapaxes(0, 1)
    for x_RBI, sum_RBI in zip(x_RTBI.swapaxes(0, 1)[1:], after, strict=True):
        np.multiply(before_RBI, kept, out=sum_RBI)
        np.add(sum_RBI, x_RBI, out=sum_RBI)
        before_RBI = sum_RBI


def last_pulse(pulse_RTBI: npt.NDArray[Any], held_RTBI: npt.NDArray[Any]) -> None:
    """Return the sign of the last pulse so far, -1 or 1, and 0 before the first one. No pulse is 0."""
    T = pulse_RTBI.shape[1]
    # The latest pulse has the largest number, whose last bit is its sign.
    order = np.arange(2, 2 * T + 2, 2, dtype=np.int32)[:, None, None]
    latest_RTBI = order * np.abs(pulse_RTBI)
    latest_RTBI += pulse_RTBI > 0
    np.maximum.accumulate(latest_RTBI, axis=1, out=latest_RTBI)
    signs = np.tile(np.array([-1, 1], held_RTBI.dtype), T + 1)
    signs[0] = 0
    held_RTBI[...] = signs[latest_RTBI]
