"""Runs the layers and the readout of one replica in NumPy, where there is no native kernel or it lacks the cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.serving.cells import NumPyLayer
from rnn.serving.stacks import Run, States

Array = npt.NDArray[Any]

_TILE = 8
"""Number of sequences in one tile. BLAS is slow with fewer rows; more rows waste work on a single sequence."""
_WORKING_VALUES = 1 << 21
"""Largest number of hidden or output values computed at a time; a longer sequence is computed part by part."""


class NumPyStack:
    """The layers of one replica in NumPy.

    BLAS may round a row differently in a larger matrix, so rows are always multiplied in tiles of the same shape.
    """

    def __init__(self, cell: Any, layers: list[dict[str, Array]], readout: tuple[Array, Array]) -> None:
        self._states = facts(cell).states
        self._layers = [NumPyLayer(cell, weights) for weights in layers]
        W_hy, self._b_y = readout
        self._W_hy_HO = np.ascontiguousarray(W_hy.T)

    def run(
        self,
        x_TNI: Array,
        lengths: Sequence[int],
        start: States | None,
        *,
        outputs: Literal["all", "last", "none"] = "all",
        hidden: bool = False,
    ) -> Run:
        """See `Stack`. One stretch of time follows another, so that a long sequence needs little memory."""
        T, N, _ = x_TNI.shape
        tiles = -(-N // _TILE)
        H, O = self._W_hy_HO.shape  # noqa: E741
        dtype = self._b_y.dtype
        y = np.empty((T if outputs == "all" else 0, tiles, _TILE, O), dtype)
        h_last = np.empty((tiles * _TILE, H), dtype)
        kept = np.empty((T if hidden else 0, tiles, _TILE, H), dtype)
        carried: list[dict[str, Array] | None] = (
            [{name: _tiled(state, tiles) for name, state in layer.items()} for layer in start]
            if start
            else [None] * len(self._layers)
        )
        last = [{name: np.zeros((tiles * _TILE, *s), dtype) for name, s in self._states.items()} for _ in self._layers]
        of_row = np.array(lengths)
        running_T = [sum(length > t for length in lengths[::_TILE]) for t in range(T)]
        span = max(1, _WORKING_VALUES // (tiles * _TILE * max(H, O)))
        for begin in range(0, T, span):
            h = _tiled(x_TNI[begin : begin + span], tiles, 1)
            (ending,) = np.nonzero((begin < of_row) & (of_row <= begin + len(h)))
            ends = of_row[ending] - 1 - begin
            for n, layer in enumerate(self._layers):
                h, states = layer.run(h, running_T[begin : begin + span], carried[n])
                carried[n] = {name: trajectory[-1].copy() for name, trajectory in states.items()}
                for name, trajectory in states.items():
                    flat = trajectory.reshape(-1, tiles * _TILE, *self._states[name])
                    last[n][name][ending] = flat[ends, ending]
            if outputs == "all":
                np.matmul(h, self._W_hy_HO, out=y[begin : begin + span])
            elif outputs == "last":
                h_last[ending] = h.reshape(-1, tiles * _TILE, H)[ends, ending]
            if hidden:
                kept[begin : begin + span] = h
        if outputs == "last":
            y = np.matmul(h_last.reshape(1, tiles, _TILE, H), self._W_hy_HO)
        y += self._b_y
        return Run(
            y.reshape(-1, tiles * _TILE, O)[:, :N],
            kept.reshape(-1, tiles * _TILE, H)[:, :N],
            [{name: state[:N] for name, state in layer.items()} for layer in last],
        )


def _tiled(rows: Array, tiles: int, axis: int = 0) -> Array:
    """Return the array with its axis of N rows split in two, (tiles, _TILE), filled up with zeros."""
    N = rows.shape[axis]
    if tiles * _TILE > N:
        rows = np.pad(rows, [(0, tiles * _TILE - N) if k == axis else (0, 0) for k in range(rows.ndim)])
    return rows.reshape(*rows.shape[:axis], tiles, _TILE, *rows.shape[axis + 1 :])
