"""Reduces long curves to what a plot can show, in one pass and in memory that does not grow with their length."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.int64, np.float64)
Steps = NDArray[np.int64]
Values = NDArray[np.float64]


class Thinning:
    """Keeps at most `max_points` (4 or more) of each column's `count` points.

    It keeps the first and the last point, and the least and the greatest point of each stretch between them, after the
    idea of M4 (Jugel et al. 2014): a line plot of the kept points shows the same extremes. A stretch without a finite
    value keeps its first point, so that a gap stays visible. Points come in pieces, in order, and it makes no
    difference how they were cut. A column is one metric of one replica.
    """

    def __init__(self, count: int, max_points: int) -> None:
        self._count = count
        self._edges = np.linspace(1, count - 1, max((max_points - 2) // 2, 1) + 1).astype(np.intp)
        self._seen = 0
        self._kept: list[tuple[Steps, Values]] = []
        """The kept points, [n, columns] each; every column has its own steps."""
        self._open: tuple[int, Steps, Values] | None = None
        """The stretch in which the last piece ended, and its least and greatest points so far, [2, columns]."""
        self._last: tuple[Steps, Values] | None = None

    def add(self, steps: Steps, values: Values) -> None:
        """Add the next points: steps [n], values [n, columns]."""
        if len(steps) == 0:
            return
        of_each = np.broadcast_to(steps[:, None], values.shape)
        if self._seen == 0:
            self._kept.append((of_each[:1], values[:1]))
        self._last = of_each[-1:], values[-1:]
        index = np.arange(self._seen, self._seen + len(steps))
        self._seen += len(steps)
        between = (index > 0) & (index < self._count - 1)
        if not between.any():
            return
        stretch = np.searchsorted(self._edges, index[between], side="right") - 1
        of_each, values = of_each[between], values[between]
        if self._open is not None:  # what its stretch had so far takes part again
            number, earlier_steps, earlier_values = self._open
            stretch = np.concatenate([[number, number], stretch])
            of_each = np.concatenate([earlier_steps, of_each])
            values = np.concatenate([earlier_values, values])
        starts = np.flatnonzero(np.diff(stretch, prepend=-1))
        finite = np.isfinite(values)
        least = _first_least(np.where(finite, values, np.inf), starts)
        greatest = _first_least(np.where(finite, -values, np.inf), starts)
        for rows in (least, greatest):
            self._kept.append((_take(of_each, rows[:-1]), _take(values, rows[:-1])))
        still = np.stack([least[-1], greatest[-1]])
        self._open = int(stretch[-1]), _take(of_each, still), _take(values, still)

    def columns(self) -> list[tuple[Steps, Values]]:
        """Return, for each column, the kept steps in ascending order and their values.

        The list is empty if no points came.
        """
        if self._last is None:
            return []
        kept = [*self._kept, *([] if self._open is None else [self._open[1:]]), self._last]
        steps, values = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        found = []
        for column in range(steps.shape[1]):
            once, rows = np.unique(steps[:, column], return_index=True)
            found.append((once, values[rows, column]))
        return found


def _first_least(values: Values, starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the row of the least value in each stretch and column, [stretches, columns].

    If several values are equal, it is the first of them.
    """
    rows = np.arange(len(values))[:, None]
    lengths = np.diff(starts, append=len(values))
    least = np.repeat(np.minimum.reduceat(values, starts, axis=0), lengths, axis=0)
    return np.minimum.reduceat(np.where(values == least, rows, len(values)), starts, axis=0)


def _take(table: NDArray[Number], rows: NDArray[np.intp]) -> NDArray[Number]:
    return np.take_along_axis(table, rows, axis=0)
