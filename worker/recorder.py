"""Turns what the child reports into a few fenced, ordered reports to the store.

A report is one transaction. The metrics of a report are joined into one block; a block never reaches beyond a
checkpoint, so a checkpoint closes its report. While the database is away, reports wait here and the child continues to
train, up to a limit.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnn.events import Artifact, Checkpoint, End, Entry, Result
from store import leases
from store.artifacts import NewArtifact
from store.checkpoints import NewCheckpoint
from store.errors import DatabaseUnavailable
from store.journal import Entry as JournalEntry
from store.leases import Lease, Report
from store.metrics import Block
from unroll.contract import Requested
from worker.messages import Bundle, Steps

SHOWN = "loss"
"""The metric whose last value is shown with the progress, if a job has it."""
MAX_BYTES = 128 << 20
PROGRESS_SECONDS = 0.5
MAX_PROGRESS_SECONDS = 5.0
RATE_SECONDS = 5.0
MIN_RATE_SECONDS = 0.5
"""Shortest time from which a rate, and so the time left, is computed. The first steps are slow, so their rate may be
wrong by any factor."""


def finite(value: float) -> float | None:
    """Return None for infinity and NaN, which JSON does not have."""
    return value if math.isfinite(value) else None


class Recorder:
    """Collects the bundles of one attempt and writes them when asked to. It does not depend on the kind of job."""

    def __init__(self, lease: Lease, step: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`step` is the one that the attempt continues from."""
        self.step = step
        self.ended: End | None = None
        self._lease = lease
        self._clock = clock
        self._closed: deque[Report] = deque()
        self._again = False
        self._steps: list[Steps] = []
        self._entries: list[JournalEntry] = []
        self._collected: list[tuple[str, dict[str, Any]]] = []
        self._summary: dict[str, Any] = {}
        self._latest: dict[str, list[float | None]] | None = None
        self._bytes = 0
        self._began = clock()
        self._told: float | None = None
        self._told_step = step
        self._rates: deque[tuple[float, int]] = deque()

    @property
    def full(self) -> bool:
        """Whether so much waits for the database that the child should wait too."""
        return self._bytes > MAX_BYTES

    def add(self, bundle: Bundle) -> None:
        """Take a bundle from the child."""
        for item in bundle.items:
            match item:
                case Steps():
                    self._steps.append(item)
                    self._bytes += item.values.nbytes
                    if SHOWN in item.names:
                        last_R = item.values[-1, item.names.index(SHOWN)]
                        self._latest = {SHOWN: [finite(value) for value in last_R.tolist()]}
                    self.step = max(self.step, int(item.steps[-1]))
                case Entry():
                    self._entries.append((item.type, item.data))
                    if item.collect is not None:
                        self._collected.append((item.collect, item.data))
                case Checkpoint():
                    self.step = item.step
                    self._bytes += len(item.weights) + len(item.state)
                    self._close(checkpoint=_checkpoint(item))
                case Artifact():
                    self._bytes += len(item.content)
                    self.step = max(self.step, bundle.step)  # newer than a checkpoint of an earlier step
                    self._close(artifact=NewArtifact(item.name, item.media_type, item.content))
                case Result():
                    content = json.dumps(item.content, indent=1, allow_nan=False).encode()
                    self._summary |= item.summary
                    self._bytes += len(content)
                    self.step = max(self.step, bundle.step)
                    self._close(artifact=NewArtifact("result.json", "application/json", content))
                case End():
                    self.ended = item
                    self._summary |= item.summary
        self.step = max(self.step, bundle.step)
        self._rates.append((self._clock(), self.step))
        while len(self._rates) > 2 and self._rates[-1][0] - self._rates[1][0] >= RATE_SECONDS:
            self._rates.popleft()

    def write(self) -> Requested | None:
        """Write all that waits, at least a heartbeat, and return what the user requests.

        Raises LeaseLost, DatabaseUnavailable.
        """
        self._progress()
        if not self._closed or self._steps or self._entries or self._summary or self.step != self._closed[-1].step:
            self._close()
        requested: Requested | None = None
        while self._closed:
            report = self._closed[0]
            try:
                requested = leases.report(self._lease, report, again=self._again)
            except DatabaseUnavailable:
                self._again = True  # it may have been written all the same, if the connection broke at the commit
                raise
            self._again = False
            self._closed.popleft()
        self._bytes = 0
        return requested

    def _close(self, checkpoint: NewCheckpoint | None = None, artifact: NewArtifact | None = None) -> None:
        """Close the open report.

        If it is not written at once, later items are not added to it but form a new report.
        """
        report = Report(
            blocks=_joined(self._steps),
            entries=tuple(self._entries),
            checkpoint=checkpoint,
            artifacts=() if artifact is None else (artifact,),
            step=self.step,
            latest=self._latest,
            steps_per_second=self._rate(),
            collected=tuple(self._collected),
            summary=self._summary or None,
        )
        self._steps, self._entries, self._collected, self._summary = [], [], [], {}
        self._closed.append(report)

    def _rate(self) -> float | None:
        """Return the recent steps per second, counted from the first batch: before it the child was starting."""
        if not self._rates:
            return None
        (t0, s0), (t1, s1) = self._rates[0], self._rates[-1]
        return (s1 - s0) / (t1 - t0) if t1 - t0 >= MIN_RATE_SECONDS and s1 > s0 else None

    def _progress(self) -> None:
        """Add an entry that says how far the job is: at the first step, from time to time, and at the end."""
        now = self._clock()
        every = min(max(PROGRESS_SECONDS, (now - self._began) / 100), MAX_PROGRESS_SECONDS)  # rarer, the longer it runs
        soon = self._told is not None and now - self._told < every and self.ended is None
        if self.step == self._told_step or soon:
            return
        self._told, self._told_step = now, self.step
        rate = self._rate()
        data: dict[str, Any] = {
            "step": self.step,
            "total": self._lease.total,
            **(self._latest or {}),
            "steps_per_second": rate,
            "eta_seconds": (self._lease.total - self.step) / rate if rate else None,
        }
        self._entries.append(("progress", data))


def _checkpoint(new: Checkpoint) -> NewCheckpoint:
    about = new.about
    if about is None:
        raise ValueError("a checkpoint must say what its weights are")
    return NewCheckpoint(
        step=new.step,
        reason=new.reason,
        weights=new.weights,
        state=new.state,
        losses=new.losses,
        best_replica=new.best_replica,
        replicas=about.replicas,
        network=about.network,
        dtype=about.dtype,
        data=about.data,
        loss=about.loss,
        certificate=new.certificate,
        keep=about.keep,
    )


def _joined(pieces: Sequence[Steps]) -> tuple[Block, ...]:
    if not pieces:
        return ()
    steps = np.concatenate([piece.steps for piece in pieces])
    values = np.concatenate([piece.values for piece in pieces])
    return (Block(pieces[0].names, steps, values),)
