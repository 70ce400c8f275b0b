"""Reads the body of a plain prediction request natively (rnn/kernels/src/posted.cpp)."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnn.kernels.abi import CPosted, library, missing


class Plain(NamedTuple):
    """What was posted: sequences, and the replica that is to run them."""

    sequences: list[npt.NDArray[Any]]
    """Each [T_i, I]."""
    replica: int | None
    """None: the best one."""
    inputs_alone: bool
    """Whether nothing else was posted."""


class PlainReader:
    """Reads bodies of up to `most_bytes` bytes with up to `most_sequences` sequences. For one thread.

    Raises OSError if there is no kernel.
    """

    def __init__(self, most_bytes: int, most_sequences: int) -> None:
        kernel = library()
        if kernel is None:
            raise OSError(missing())
        self._read, self._most_bytes = kernel.unroll_posted, most_bytes
        memory, self._lengths = np.empty(most_bytes // 2 + 1), np.empty(most_sequences, np.int64)
        self._x: dict[bool, npt.NDArray[Any]] = {True: memory, False: memory.view(np.float32)}
        self._posted = CPosted(most=most_sequences, x=memory.ctypes.data, lengths=self._lengths.ctypes.data)
        self._address = ctypes.byref(self._posted)

    def read(self, body: bytes, width: int, dtype: np.dtype[Any]) -> Plain | None:
        """Return what the body says, or None if it is not plain and has to be validated."""
        if len(body) > self._most_bytes:
            return None
        posted, double = self._posted, dtype.itemsize == 8
        posted.body, posted.bytes, posted.I, posted.is_double = body, len(body), width, double
        if not self._read(self._address):
            return None
        lengths = self._lengths[: posted.N].tolist()
        x = self._x[double][: sum(lengths) * width].reshape(-1, width).copy()
        replica, alone = None if posted.replica < 0 else posted.replica, bool(posted.inputs_alone)
        if len(lengths) == 1:
            return Plain([x], replica, alone)
        ends = np.cumsum(lengths).tolist()
        return Plain([x[end - length : end] for end, length in zip(ends, lengths, strict=True)], replica, alone)
