"""A job's progress on the terminal: a bar with loss and time left, or plain lines where rich is not installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from unroll.contract import Job

Show = Callable[[Job], None]
LINE_EVERY = 10.0
"""Seconds between plain lines."""


@contextmanager
def display(*, visible: bool = True) -> Iterator[Show]:
    """A function that shows a job; on stderr, so that stdout stays for results."""
    if not visible:
        yield lambda _job: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    except ImportError:
        yield _lines()
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=console, refresh_per_second=10) as bar:
        task = bar.add_task("", total=None, said="")
        notes = _Notes()

        def show(job: Job) -> None:
            for note in notes.of(job):
                bar.console.print(note, markup=False, highlight=False)
            # queued and without a step yet: a pulsing bar rather than an empty one
            total = None if job.status == "queued" and job.progress.step == 0 else job.progress.total
            what = f"{job.name or job.id} {job.status}"
            bar.update(task, description=what, completed=job.progress.step, total=total, said=describe(job))

        yield show


def describe(job: Job) -> str:
    """Loss, speed and time left, or the place in the queue."""
    if job.queue is not None:
        return f"number {job.queue.position} in the queue"
    progress = job.progress
    said = [f"step {progress.step} of {progress.total}"]
    finite = [loss for loss in progress.loss or [] if loss is not None]
    if len(finite) == 1:
        said.append(f"loss {finite[0]:.4g}")
    elif finite:
        said.append(f"loss {median(finite):.4g} (median of {len(finite)}, {min(finite):.4g} to {max(finite):.4g})")
    if job.status == "running":
        if progress.steps_per_second:
            said.append(f"{progress.steps_per_second:.0f} steps/s")
        if progress.eta_seconds is not None:
            said.append(f"{clock(progress.eta_seconds)} left")
    return ", ".join(said)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Notes:
    """What happened between two looks that a bar cannot show."""

    def __init__(self) -> None:
        self._attempt: int | None = None
        self._diverged = 0

    def of(self, job: Job) -> Iterator[str]:
        if self._attempt and job.attempt > self._attempt:
            yield f"attempt {job.attempt}: training goes on from step {job.progress.step}"
        self._attempt = job.attempt
        for one in job.diverged[self._diverged :]:
            norm = "not finite" if one.gradient_norm is None else f"{one.gradient_norm:.3g}"
            yield f"replica {one.replica} diverged at step {one.step} (gradient norm {norm}); the others train on"
        self._diverged = len(job.diverged)


def _lines() -> Show:
    notes = _Notes()
    state: tuple[str, float] = ("", 0.0)

    def show(job: Job) -> None:
        nonlocal state
        for note in notes.of(job):
            sys.stderr.write(f"{note}\n")
        now = time.monotonic()
        if job.status != state[0] or now - state[1] >= LINE_EVERY:
            state = (job.status, now)
            sys.stderr.write(f"{job.name or job.id} {job.status}: {describe(job)}\n")

    return show
