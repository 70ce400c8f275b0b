"""Shows a job's progress: on a terminal or in a notebook a bar with loss and time left, elsewhere plain lines."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from statistics import median
from typing import Any

from unroll._wire import summary_of
from unroll.contract import ENDED, Job

Show = Callable[[Job], None]
LINE_EVERY = 10.0
"""Largest number of seconds between plain lines. There is also a line at each tenth of the steps."""


@contextmanager
def display(*, visible: bool = True) -> Iterator[Show]:
    """Give a function that shows a job: on stderr, so that stdout has only results, or in a notebook's cell."""
    if not visible:
        yield lambda _job: None
        return
    if in_notebook():
        yield _cell()
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Column
    except ImportError:
        yield _lines()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    # the text takes the rest of the line, and is cut if that is too short
    words = TextColumn("{task.fields[said]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TaskProgressColumn(), words)
    with Progress(*columns, console=console, refresh_per_second=10, expand=True) as bar:
        task = bar.add_task("", total=None, said="")
        notes = _Notes()

        def show(job: Job) -> None:
            for note in notes.of(job):
                bar.console.print(note, markup=False, highlight=False)
            # a queued job without a step yet gets a pulsing bar instead of an empty one
            total = None if job.status == "queued" and job.progress.step == 0 else job.progress.total
            what = f"{job.name or job.id} {job.status}"
            bar.update(task, description=what, completed=job.progress.step, total=total, said=_beside_bar(job))

        yield show


def describe(job: Job) -> str:
    """Return loss, speed and time left, or the place in the queue."""
    if job.queue is not None:
        return job.queue.line()
    return ", ".join([f"step {job.progress.step} of {job.progress.total}", *_loss(job), *_speed(job), *_left(job)])


def _beside_bar(job: Job) -> str:
    """Return the same with the most important part first, because the line may be cut."""
    if job.queue is not None:
        return describe(job)
    return ", ".join([*_left(job), *_loss(job), f"step {job.progress.step} of {job.progress.total}", *_speed(job)])


def _loss(job: Job) -> Iterator[str]:
    """Yield the summary's loss, one number or one for each replica, if this kind of job has one."""
    loss = getattr(summary_of(job), "loss", None)
    finite = [one for one in (loss if isinstance(loss, list) else [loss]) if one is not None]
    if len(finite) == 1:
        yield f"loss {finite[0]:.4g}"
    elif finite:
        yield f"loss {median(finite):.4g} (median of {len(finite)}, {min(finite):.4g} to {max(finite):.4g})"


def _speed(job: Job) -> Iterator[str]:
    if job.status == "running" and job.progress.steps_per_second:
        yield f"{job.progress.steps_per_second:.0f} steps/s"


def _left(job: Job) -> Iterator[str]:
    if job.status == "running" and job.progress.eta_seconds is not None:
        yield f"{clock(job.progress.eta_seconds)} left"


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def in_notebook() -> bool:
    """Return whether this code runs in a notebook's kernel, which shows HTML."""
    ipython: Any = sys.modules.get("IPython")  # who runs in IPython has imported it
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def at_a_prompt() -> bool:
    """Return whether a person types the commands: at Python's or IPython's prompt, or in a notebook."""
    return hasattr(sys, "ps1") or in_notebook()


def say_estimate(job: Job) -> None:
    """Say on stderr how long a job that was submitted may take, if that is more than a minute."""
    if job.status not in ENDED and (estimate := summary_of(job).estimate()):
        print(f"{job.id}: {estimate}", file=sys.stderr, flush=True)


class _Notes:
    """Prints what happened between two updates and cannot be shown by a bar. It prints nothing twice."""

    def __init__(self) -> None:
        self._attempt: int | None = None
        self._said: set[str] = set()

    def of(self, job: Job) -> Iterator[str]:
        if self._attempt and job.attempt > self._attempt:
            yield f"attempt {job.attempt} goes on from step {job.progress.step}"
        first, self._attempt = self._attempt is None, job.attempt
        told = at_a_prompt()  # when the job was submitted
        if first and not told and job.status not in ENDED and (estimate := summary_of(job).estimate()):
            yield f"{job.name or job.id}: {estimate}; Ctrl-C does not stop it"
        for note in summary_of(job).notes():
            if note not in self._said:
                self._said.add(note)
                yield note


def _cell() -> Show:
    """Show a job in the output of a notebook's cell, in one place that is updated."""
    show_in_cell: Any = importlib.import_module("IPython.display").display  # there, as this is its kernel
    notes = _Notes()
    said: list[str] = []
    handle: Any = None

    def show(job: Job) -> None:
        nonlocal handle
        said.extend(notes.of(job))
        bundle = {"text/plain": "\n".join([*said, _one_line(job)]), "text/html": _bar_html(job, said)}
        if handle is None:
            handle = show_in_cell(bundle, raw=True, display_id=True)
        else:
            handle.update(bundle, raw=True)

    return show


def _bar_html(job: Job, notes: list[str]) -> str:
    share = job.progress.step / max(job.progress.total, 1)
    colour = {"succeeded": "#009E73", "failed": "#D55E00", "cancelled": "#888"}.get(job.status, "#0072B2")
    bar = (
        "<div style='display:inline-block;width:14em;height:0.8em;background:#ddd;vertical-align:middle'>"
        f"<div style='width:{100 * share:.1f}%;height:100%;background:{colour}'></div></div>"
    )
    words = f"{escape(f'{job.name or job.id} {job.status}')} {bar} {share:.0%} {escape(_beside_bar(job))}"
    return "".join(f"<div>{line}</div>" for line in [*map(escape, notes), words])


def _one_line(job: Job) -> str:
    return f"{job.name or job.id} {job.status}: {describe(job)}"


def _lines() -> Show:
    notes = _Notes()
    said: tuple[str, int] = ("", -1)  # status and tenth of the way
    said_at = 0.0

    def show(job: Job) -> None:
        nonlocal said, said_at
        for note in notes.of(job):
            print(note, file=sys.stderr)
        now = time.monotonic()
        here = (job.status, 10 * job.progress.step // max(job.progress.total, 1))
        if here != said or now - said_at >= LINE_EVERY:
            said, said_at = here, now
            print(_one_line(job), file=sys.stderr, flush=True)

    return show
