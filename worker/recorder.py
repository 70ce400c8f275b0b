"""What a trainer child reports, turned into reports of the store: few, fenced, in order.

A report is one transaction. Metrics are joined into one block a report; a block never reaches beyond a checkpoint, so
a checkpoint closes its report. While the database is away reports wait here and the child trains on, up to a limit.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnn.events import Checkpoint, Diverged, Done, Evaluation, LagProfile, Stopped
from store import leases
from store.checkpoints import NewCheckpoint
from store.errors import DatabaseUnavailable
from store.journal import Entry
from store.leases import Lease, Report
from store.metrics import Block
from unroll.contract import Divergence, Requested, Stop
from worker.messages import Batch, Steps

MAX_BYTES = 128 << 20
PROGRESS_SECONDS = 0.5
MAX_PROGRESS_SECONDS = 5.0
RATE_SECONDS = 5.0
MIN_RATE_SECONDS = 0.5
"""No rate, and so no time left, from less: the first steps are slow, and their rate is off by any factor."""


def finite(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else None


class Recorder:
    """Collects batches of one attempt and writes them when asked to."""

    def __init__(self, lease: Lease, step: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`step` is the one that the attempt goes on from."""
        self.step = step
        self.done: Done | None = None
        self.hint = ""
        """What may help the replica that diverged last."""
        self._lease = lease
        self._total = lease.config.training.steps
        self._clock = clock
        self._closed: deque[Report] = deque()
        self._again = False
        self._steps: list[Steps] = []
        self._entries: list[Entry] = []
        self._diverged: list[Divergence] = []
        self._stopped: list[Stop] = []
        self._loss: list[float | None] | None = None
        self._bytes = 0
        self._began = clock()
        self._told: float | None = None
        self._told_step = step
        self._rates: deque[tuple[float, int]] = deque()

    @property
    def full(self) -> bool:
        """Whether so much waits for the database that the child should wait too."""
        return self._bytes > MAX_BYTES

    def add(self, batch: Batch) -> None:
        """Take what the child says."""
        for item in batch.items:
            match item:
                case Steps():
                    self._steps.append(item)
                    self._bytes += item.values.nbytes
                    losses = item.values[-1, item.names.index("loss")]
                    self._loss = [finite(value) for value in losses.tolist()]
                    self.step = max(self.step, int(item.steps[-1]))
                case Evaluation():
                    losses = [finite(value) for value in item.loss.tolist()]
                    data = {"step": item.step, "loss": losses, "best": bool(item.improved)}
                    self._entries.append(("evaluation", data))
                case Diverged():
                    one = Divergence(
                        replica=item.replica,
                        step=item.step,
                        loss=finite(item.loss),
                        gradient_norm=finite(item.gradient_norm),
                        hint=item.hint or None,
                    )
                    self.hint = item.hint
                    self._diverged.append(one)
                    self._entries.append(("replica_diverged", one.model_dump(mode="json")))
                case LagProfile():
                    norms = [[finite(value) for value in row] for row in item.norm.tolist()]
                    data = {"step": item.step, "lag": item.lag.tolist(), "norm": norms}
                    self._entries.append(("lag_profile", data))
                case Stopped():
                    loss = finite(item.loss)
                    stop = Stop(replica=item.replica, step=item.step, reason=item.reason, loss=loss)
                    self._stopped.append(stop)
                    self._entries.append(("replica_stopped", stop.model_dump(mode="json")))
                case Checkpoint():
                    self.step = item.step
                    self._bytes += len(item.weights) + len(item.state)
                    self._close(self._checkpoint(item))
                case Done():
                    self.done = item
        self.step = max(self.step, batch.step)
        self._rates.append((self._clock(), self.step))
        while len(self._rates) > 2 and self._rates[-1][0] - self._rates[1][0] >= RATE_SECONDS:
            self._rates.popleft()

    def write(self) -> Requested | None:
        """Write all that waits, at least a heartbeat; what the user requests. Raises LeaseLost, DatabaseUnavailable."""
        self._progress()
        if not self._closed or self._steps or self._entries or self.step != self._closed[-1].step:
            self._close(None)
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

    def _close(self, checkpoint: NewCheckpoint | None) -> None:
        """Make a report of what is open. Reports after one that has not been written yet are joined to nothing."""
        report = Report(
            blocks=_joined(self._steps),
            entries=tuple(self._entries),
            checkpoint=checkpoint,
            step=self.step,
            loss=self._loss,
            steps_per_second=self._rate(),
            diverged=tuple(self._diverged),
            stopped=tuple(self._stopped),
        )
        self._steps, self._entries, self._diverged, self._stopped = [], [], [], []
        self._closed.append(report)

    def _checkpoint(self, new: Checkpoint) -> NewCheckpoint:
        replicas = self._lease.config.replicas
        losses, best = new.losses, new.best_replica
        return NewCheckpoint(new.step, new.reason, new.weights, new.state, losses, best, replicas, new.certificate)

    def _rate(self) -> float | None:
        """Steps a second of late. Counted from the first batch: before it the child was starting, not training."""
        if not self._rates:
            return None
        (t0, s0), (t1, s1) = self._rates[0], self._rates[-1]
        return (s1 - s0) / (t1 - t0) if t1 - t0 >= MIN_RATE_SECONDS and s1 > s0 else None

    def _progress(self) -> None:
        """At the first step, now and then, and at the end, an entry that says how far the job is."""
        now = self._clock()
        every = min(max(PROGRESS_SECONDS, (now - self._began) / 100), MAX_PROGRESS_SECONDS)  # rarer, the longer it runs
        soon = self._told is not None and now - self._told < every and self.done is None
        if self.step == self._told_step or soon:
            return
        self._told, self._told_step = now, self.step
        rate = self._rate()
        data: dict[str, Any] = {
            "step": self.step,
            "total": self._total,
            "loss": self._loss,
            "steps_per_second": rate,
            "eta_seconds": (self._total - self.step) / rate if rate else None,
        }
        self._entries.append(("progress", data))


def _joined(pieces: Sequence[Steps]) -> tuple[Block, ...]:
    if not pieces:
        return ()
    steps = np.concatenate([piece.steps for piece in pieces])
    values = np.concatenate([piece.values for piece in pieces])
    return (Block(pieces[0].names, steps, values),)
