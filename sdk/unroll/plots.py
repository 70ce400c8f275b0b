"""Learning curves as inline SVG, for notebooks. One picture a metric, one line a replica; NumPy only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#8C6D00")
"""Colours that people with any colour vision tell apart (Okabe & Ito 2008), yellow darkened for a white ground."""
WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 78, 14, 30, 44
BUCKETS = 140
"""A long line is drawn by the lowest, the highest and the median point of so many stretches of steps."""
LOG_FROM = 50.0
"""Ratio of the largest to the smallest value from which on an axis is logarithmic."""


def curves_svg(job: str, steps: NDArray[np.int64], metrics: Mapping[str, Floats]) -> str:
    """Return pictures of all metrics, arrays [steps, R], as HTML with inline SVG."""
    drawn = [_picture(name, steps, values) for name, values in metrics.items()]
    title = f"<div>Metrics of {escape(job)}{'' if drawn else ': none yet'}</div>"
    return f"<div style='font-family:sans-serif'>{title}<div>{''.join(drawn)}</div>{_legend(metrics)}</div>"


def _picture(name: str, steps: NDArray[np.int64], values: Floats) -> str:
    finite = values[np.isfinite(values)]
    about = f"{name} by step, {values.shape[1]} replicas"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{escape(about)}'",
        f" viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}'",
        " font-family='sans-serif' font-size='12' fill='#333'>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
    ]
    if not len(finite):
        parts.append(f"<text x='{LEFT}' y='{TOP + 20}'>{escape(name)}: no finite value yet</text></svg>")
        return "".join(parts)
    x, y = _Axis.of(steps, LEFT, WIDTH - RIGHT), _Axis.of(finite, HEIGHT - BOTTOM, TOP, log=True)
    for tick in y.ticks(5):
        at = y(tick)
        parts.append(f"<path d='M{LEFT} {at:.1f}H{WIDTH - RIGHT}' stroke='#ddd'/>")
        parts.append(f"<text x='{LEFT - 6}' y='{at + 4:.1f}' text-anchor='end'>{_number(tick)}</text>")
    for tick in filter(float.is_integer, x.ticks(6)):  # there is no half step
        at = x(tick)
        parts.append(f"<path d='M{at:.1f} {HEIGHT - BOTTOM}v5' stroke='#333'/>")
        parts.append(f"<text x='{at:.1f}' y='{HEIGHT - BOTTOM + 18}' text-anchor='middle'>{_number(tick)}</text>")
    parts.append(f"<path d='M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}' fill='none' stroke='#333'/>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f"<text x='{middle:.0f}' y='{HEIGHT - 8}' text-anchor='middle'>step</text>")
    scale = " (logarithmic scale)" if y.log else ""
    parts.append(f"<text x='{LEFT}' y='{TOP - 12}' font-weight='bold'>{escape(name + scale)}</text>")
    parts += _lines(x, y, steps, values)
    return "".join(parts) + "</svg>"


def _lines(x: _Axis, y: _Axis, steps: NDArray[np.int64], values: Floats) -> Iterator[str]:
    """Yield a line for each replica; for more replicas than there are colours, their range and their median."""
    replicas = values.shape[1]
    if replicas <= len(COLOURS):
        for replica in range(replicas):
            yield f"<g fill='none' stroke='{COLOURS[replica]}' stroke-linejoin='round'><title>replica {replica}</title>"
            yield from _line(x, y, steps, values[:, replica])
            yield "</g>"
        return
    rows = np.isfinite(values).any(axis=1)
    at, kept = steps[rows], values[rows]
    which = np.unique(np.linspace(0, len(at) - 1, 2 * BUCKETS).astype(int))
    at, kept = at[which], kept[which]
    kept = np.where(np.isfinite(kept), kept, np.nan)
    low, middle, high = np.nanmin(kept, axis=1), np.nanmedian(kept, axis=1), np.nanmax(kept, axis=1)
    outline = _path(x, y, np.concatenate([at, at[::-1]]), np.concatenate([high, low[::-1]]))
    yield f"<path d='{outline}Z' fill='{COLOURS[0]}' fill-opacity='0.25'/>"
    yield f"<path d='{_path(x, y, at, middle)}' fill='none' stroke='{COLOURS[0]}' stroke-width='2'/>"


def _path(x: _Axis, y: _Axis, steps: NDArray[np.int64], values: Floats) -> str:
    if len(steps) == 1:  # a line of one point is not seen
        return f"M{x(steps[0]) - 2:.1f} {y(values[0]):.1f}h4"
    return "M" + "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in zip(steps, values, strict=True))


def _line(x: _Axis, y: _Axis, steps: NDArray[np.int64], values: Floats) -> Iterator[str]:
    """Yield one line through the finite points.

    Of many points it yields a pale line through the ends, the lowest and the highest of each stretch, and a strong one
    through the medians of the stretches.
    """
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if not len(values):
        return
    if len(values) <= 2 * BUCKETS:
        yield f"<path d='{_path(x, y, steps, values)}' stroke-width='1.2'/>"
        return
    kept = {0, len(values) - 1}
    stretches = np.array_split(np.arange(len(values)), BUCKETS)
    for stretch in stretches:
        kept |= {int(stretch[np.argmin(values[stretch])]), int(stretch[np.argmax(values[stretch])])}
    place = np.array(sorted(kept))
    yield f"<path d='{_path(x, y, steps[place], values[place])}' stroke-width='1' stroke-opacity='0.2'/>"
    middle = np.array([np.median(values[stretch]) for stretch in stretches])
    at = np.array([steps[stretch[len(stretch) // 2]] for stretch in stretches])
    yield f"<path d='{_path(x, y, at, middle)}' stroke-width='1.5'/>"


def _legend(metrics: Mapping[str, Floats]) -> str:
    replicas = max((values.shape[1] for values in metrics.values()), default=0)
    if replicas <= 1:
        return ""
    if replicas > len(COLOURS):
        return f"<div>line: median of {replicas} replicas; area: from the lowest to the highest</div>"
    marks = (f"<span style='color:{COLOURS[r]}'>&#9644;</span> replica {r}" for r in range(replicas))
    return f"<div>{' &nbsp; '.join(marks)}</div>"


class _Axis:
    """Where values stand between two ends, in pixels."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool) -> None:
        self.log = log
        self._low, self._high = self._place(low), self._place(high)
        self._start, self._end = start, end

    @classmethod
    def of(cls, values: NDArray[np.number], start: float, end: float, *, log: bool = False) -> _Axis:
        """Return an axis that holds all values, logarithmic if that is allowed and their range asks for it."""
        low, high = float(values.min()), float(values.max())
        log = log and low > 0 and high / low >= LOG_FROM
        if low == high:
            margin = abs(low) / 2 or 1.0
            low, high = low - margin, high + margin
        return cls(low, high, start, end, log=log)

    def __call__(self, value: float) -> float:
        """Return where a value stands."""
        # halves, because the difference of two of the largest numbers is not finite
        part = (self._place(value) / 2 - self._low / 2) / (self._high / 2 - self._low / 2)
        return self._start + part * (self._end - self._start)

    def ticks(self, about: int) -> list[float]:
        """Return round values on the axis: about so many."""
        if self.log:
            first, last = math.ceil(self._low - 1e-9), math.floor(self._high + 1e-9)
            every = max(1, math.ceil((last - first + 1) / (about + 2)))
            decades = [10.0**power for power in range(first, last + 1, every)]
            if len(decades) >= 3:
                return decades
            between = (factor * 10.0**power for power in range(first - 1, last + 1) for factor in (1, 2, 5))
            return [tick for tick in between if self._low <= math.log10(tick) <= self._high]
        rough = self._high / about - self._low / about
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * (1 - 1e-9))
        first, last = math.ceil(self._low / step - 1e-9), math.floor(self._high / step + 1e-9)
        return [count * step for count in range(first, last + 1)]

    def _place(self, value: float) -> float:
        return math.log10(value) if self.log else float(value)


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:.10g}" if abs(value) >= 1 else f"{value:.4g}"
    return f"{value:.3g}"
