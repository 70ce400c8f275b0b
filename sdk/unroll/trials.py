"""Pictures of one sequence of a task: inputs above, targets below, as a file (matplotlib) or in a terminal (plotext).

Few series of numbers are lines; many, as those of a ring of neurons, are a map; tokens and classes are squares. Steps
that do not count in the loss are grey.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from unroll.contract import Task
from unroll.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 5
"""Largest number of series that are drawn as lines."""
_SHADES = " ░▒▓█"


@dataclass(frozen=True)
class Trial:
    """One sequence of a task."""

    task: Task
    inputs: NDArray[np.float64]
    """Inputs [T, I]; tokens as one-hot vectors."""
    targets: NDArray[np.float64]
    """Targets [T, O]."""
    weights: NDArray[np.float64] | None
    """How often each step counts, [T]. None: each counts once."""


@dataclass(frozen=True)
class _Panel:
    title: str
    names: list[str]
    kind: Literal["lines", "map", "choices"]
    values: NDArray[np.float64]
    """The series, [T, number of names]."""
    counts: NDArray[np.bool_]
    """Which steps count, [T]."""


def draw(trial: Trial, file: str | os.PathLike[str] | IO[bytes]) -> None:
    """Draw a trial to a file, whose ending says the format, or as PNG to an open one.

    Raises ImportError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "unroll-sdk[plot]"') from error
    panels = _panels(trial)
    heights = [1.0 if one.kind == "lines" else min(2.2, 0.4 + 0.11 * len(one.names)) for one in panels]
    figure = Figure(figsize=(7.0, 0.7 + 1.45 * sum(heights)), layout="constrained")
    # The steps of a decoder follow those of its encoder; all others are the same steps.
    shared = trial.task.architectures[:1] != ["encoder_decoder"]
    axes = figure.subplots(2, 1, sharex=shared, squeeze=False, height_ratios=heights)[:, 0]
    for axis, panel in zip(axes, panels, strict=True):
        _draw_panel(axis, panel)
        axis.set_xlim(0.4, (max(len(one.values) for one in panels) if shared else len(panel.values)) + 0.6)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_title(f"{trial.task.name}: {panels[0].title}", fontsize=10, loc="left")
    axes[1].set_title(panels[1].title, fontsize=10, loc="left")
    axes[1].set_xlabel("time step t")
    figure.savefig(file, dpi=110)


def _draw_panel(axis: Axes, panel: _Panel) -> None:
    steps = np.arange(1, len(panel.values) + 1)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    values_TX = np.where(panel.counts[:, None], panel.values, np.nan)
    if panel.kind == "lines":
        size = 8 if panel.counts.sum() == 1 else 4 if len(steps) < 80 else 0
        for values, name, colour in zip(values_TX.T, panel.names, COLOURS, strict=False):
            axis.plot(steps, values, ".-", color=colour, label=name, linewidth=1.2, markersize=size)
        axis.axhline(0, color="#999999", linewidth=0.6, zorder=0)
        low, high = min(np.nanmin(values_TX), 0.0), max(np.nanmax(values_TX), 0.0)
        if low == high:
            high = 1.0
        axis.set_ylim(low - 0.12 * (high - low), high + 0.12 * (high - low))
        axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    else:
        image = axis.imshow(
            values_TX.T,
            aspect="auto",
            interpolation="nearest",
            cmap="Blues",
            extent=(0.5, len(steps) + 0.5, len(panel.names) - 0.5, -0.5),
        )
        every = max(1, -(-len(panel.names) // 12))
        axis.set_yticks(range(0, len(panel.names), every), panel.names[::every])
        if panel.kind == "map":
            axis.figure.colorbar(image, ax=axis, pad=0.01).ax.tick_params(labelsize=7)
    for begin, end in _stretches(~panel.counts):
        axis.axvspan(begin + 0.5, end + 0.5, color="#000000", alpha=0.08, linewidth=0)


def drawn_with_characters(trial: Trial, width: int, *, colour: bool = False) -> str:
    """Return a trial as text, some `width` columns wide. Raises ImportError if plotext is needed and missing."""
    said = []
    for panel in _panels(trial):
        said += [panel.title, _TEXT[panel.kind](panel, width, colour), ""]
    return "\n".join(said).rstrip()


def _lines(panel: _Panel, width: int, colour: bool) -> str:  # noqa: FBT001 - as its neighbours
    try:
        import plotext
    except ImportError as error:
        raise ImportError('plots in a terminal need plotext: pip install "unroll-sdk[plot]"') from error
    figure: Any = plotext.figure
    steps = list(range(1, len(panel.values) + 1))
    said = []
    for values, name in zip(panel.values.T, panel.names, strict=True):
        figure.clear()
        figure.plot_size(width, 7 if len(panel.names) > 1 else 11)
        signal = figure.signal(np.array(steps)[panel.counts].tolist(), values[panel.counts].tolist(), marker="braille")
        figure.draw(signal.lines() if panel.counts.sum() > 1 else signal)
        figure.ruler("x").lim(1, max(len(steps), 2)).ticks(
            [1, *range(5, len(steps) + 1, max(5, 5 * (len(steps) // 50)))]
        )
        said += [f"{name}:", str(figure.build().string(colorless=not colour)).rstrip()]
    return "\n".join(said)


def _map(panel: _Panel, width: int, _colour: bool) -> str:  # noqa: FBT001
    low, high = float(panel.values.min()), float(panel.values.max())
    shade = np.rint((panel.values.T - low) / max(high - low, 1e-12) * (len(_SHADES) - 1)).astype(int)
    rows = ["".join(_SHADES[level] for level in row) for row in shade]
    return _table(panel.names, rows, width) + f"\nfrom {low:.3g} (blank) to {high:.3g} ({_SHADES[-1]})"


def _choices(panel: _Panel, width: int, _colour: bool) -> str:  # noqa: FBT001
    marks = np.where(panel.counts, "·", _SHADES[1])
    rows = ["".join(np.where((row > 0) & panel.counts, _SHADES[-1], marks)) for row in panel.values.T]
    return _table(panel.names, rows, width)


def _table(names: list[str], rows: list[str], width: int) -> str:
    wide = max(map(len, names))
    room = max(width - wide - 1, 10)
    cut = f"\n(the first {room} of {len(rows[0])} steps)" if len(rows[0]) > room else ""
    return "\n".join(f"{name:>{wide}} {row[:room]}" for name, row in zip(names, rows, strict=True)) + cut


_TEXT = {"lines": _lines, "map": _map, "choices": _choices}


def _panels(trial: Trial) -> list[_Panel]:
    task = trial.task
    counts = np.ones(len(trial.targets), bool) if trial.weights is None else trial.weights > 0
    tokens, classes = task.vocabulary_size is not None, task.losses[:1] == ["cross_entropy"]
    asked = "targets" if counts.all() else "targets of the steps that count"
    if task.architectures[:1] == ["many_to_one"]:
        counts[:-1] = False
        asked = "target, which is asked for at the last step"
    return [
        _panel(
            "tokens" if tokens else "inputs", task.input_names, trial.inputs, np.ones(len(trial.inputs), bool), tokens
        ),
        _panel(asked, task.target_names, trial.targets, counts, classes),
    ]


def _panel(
    title: str,
    names: list[str],
    values: NDArray[np.float64],
    counts: NDArray[np.bool_],
    one_of: bool,  # noqa: FBT001 - a private function
) -> _Panel:
    kind: Literal["lines", "map", "choices"] = "lines" if len(names) <= MOST_LINES else "map"
    return _Panel(title, names, "choices" if one_of else kind, values, counts)


def _stretches(where: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the beginnings and ends of all stretches of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], where, [False])).astype(int)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
