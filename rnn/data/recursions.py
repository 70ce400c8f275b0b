"""Recursions along time that several tasks need, for all replicas at once. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_STEPS, _CELLS = 62, 1 << 17
"""Largest number of steps, and of numbers, in a block: what counts steps is a byte, and a block takes little memory."""


def leaky_sum(x_RTBI: npt.NDArray[Any], kept: float, sum_RTBI: npt.NDArray[Any]) -> None:
    """Return sum[t] = kept · sum[t-1] + x[t], step by step, in the dtype of the arrays."""
    sum_RTBI[:, 0] = x_RTBI[:, 0]
    before_RBI, *after = sum_RTBI.swapaxes(0, 1)
    for x_RBI, sum_RBI in zip(x_RTBI.swapaxes(0, 1)[1:], after, strict=True):
        np.multiply(before_RBI, kept, out=sum_RBI)
        np.add(sum_RBI, x_RBI, out=sum_RBI)
        before_RBI = sum_RBI


def last_pulse(pulse_RTBI: npt.NDArray[np.int8], held_RTBI: npt.NDArray[Any]) -> None:
    """Return the last pulse so far, -1 or 1, and 0 before the first one. No pulse is 0.

    It works in blocks of steps: in a block the latest pulse has the largest number, whose last bit is its sign.
    """
    T = pulse_RTBI.shape[1]
    size = min(_STEPS, max(1, _CELLS // max(1, pulse_RTBI[:, 0].size)))
    order = np.arange(2, 2 * size + 2, 2, dtype=np.int8)[:, None, None]
    signs = np.tile(np.array([-1, 1], held_RTBI.dtype), size + 1)
    signs[0] = 0
    for begin in range(0, T, size):
        pulse_RKBI = pulse_RTBI[:, begin : begin + size].copy()
        if begin:  # what is held from the block before counts as a pulse where there is none
            first_RBI = pulse_RKBI[:, 0]
            np.copyto(first_RBI, held_RTBI[:, begin - 1], where=first_RBI == 0, casting="unsafe")
        latest_RKBI = order[: pulse_RKBI.shape[1]] * np.abs(pulse_RKBI)
        latest_RKBI += pulse_RKBI > 0
        np.maximum.accumulate(latest_RKBI, axis=1, out=latest_RKBI)
        held_RTBI[:, begin : begin + size] = signs[latest_RKBI]
