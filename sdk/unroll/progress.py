"""Shows a job's progress: on a terminal a bar with loss and time left, elsewhere (or without rich) plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from unroll._wire import summary_of
from unroll.contract import Job

Show = Callable[[Job], None]
LINE_EVERY = 10.0
"""Largest number of seconds between plain lines. There is also a line at each tenth of the steps."""


@contextmanager
def display(*, visible: bool = True) -> Iterator[Show]:
    """Give a function that shows a job, on stderr, so that stdout has only results."""
    if not visible:
        yield lambda _job: None
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
        return f"number {job.queue.position} in the queue"
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


class _Notes:
    """Prints what happened between two updates and cannot be shown by a bar. It prints nothing twice."""

    def __init__(self) -> None:
        self._attempt: int | None = None
        self._said: set[str] = set()

    def of(self, job: Job) -> Iterator[str]:
        if self._attempt and job.attempt > self._attempt:
            yield f"attempt {job.attempt} goes on from step {job.progress.step}"
        self._attempt = job.attempt
        for note in summary_of(job).notes():
            if note not in self._said:
                self._said.add(note)
                yield note


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
            print(f"{job.name or job.id} {job.status}: {describe(job)}", file=sys.stderr, flush=True)

    return show
