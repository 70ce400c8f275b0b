"""Jobs: the envelope that all kinds share, and what happens to a job."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from unroll.contract.base import Response
from unroll.contract.kinds import JobConfig, JobSummary, Kind
from unroll.contract.shown import Shown, duration
from unroll.contract.summary import Summary

JobStatus = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
ENDED: frozenset[JobStatus] = frozenset({"succeeded", "failed", "cancelled"})
Requested = Literal["cancel", "pause"]
JobErrorCode = Literal[
    "all_replicas_diverged",
    "crashed",
    "stalled",
    "out_of_memory",
    "training_error",
    "bad_checkpoint",
    "input_gone",
    "parity_failed",
    "time_limit",
    "quota_exceeded",
]


class Progress(Response):
    """How far the job is."""

    step: int
    """Steps done: optimiser steps of a train job, parts of the work of other kinds."""
    total: int
    steps_per_second: float | None = None
    eta_seconds: float | None = None


class QueuePosition(Response):
    """The place of a queued job among those of its tenant that ask for the same devices; 1 is the first.

    It tells nothing of other tenants' jobs, with which workers take turns.
    """

    position: int
    exact: bool = True
    """Whether this is the place. If not, the line is so long that it was not counted to its end: the place is
    `position` or a later one."""

    def line(self) -> str:
        """Return the place in words."""
        return f"number {self.position}{'' if self.exact else ' or later'} in the queue"


class JobError(Response):
    """Why a job failed."""

    code: JobErrorCode
    message: str
    step: int | None = None
    """The last step known to have run."""
    checkpoint: str | None = None
    """The last good checkpoint."""
    log: str | None = None
    """The end of the log of the process that ran the job."""


class Environment(Response):
    """What a run's bits depend on besides its configuration."""

    worker: str
    device: str
    engine: str
    torch: str
    threads: int
    """How many threads compute. A resumed job keeps their number."""
    instruction_set: str


class Job(Shown, Response):
    """A job as it is now, whatever its kind."""

    id: str
    kind: Kind
    name: str | None
    status: JobStatus
    requested: Requested | None
    """What a user asked for that the worker has not acted on yet."""
    attempt: int
    """How often a worker has claimed the job. Every write of a worker names its attempt."""
    crashes: int
    """Attempts that died since the last checkpoint."""
    progress: Progress
    queue: QueuePosition | None
    error: JobError | None
    config: JobConfig
    """The full configuration, in which a registered model's name is replaced by its configuration."""
    summary: JobSummary
    """What this kind of job reports: for train the best network, the losses, and which replicas diverged or stopped."""
    parent: str | None = None
    """The job that made what this one reads; null if there is none, or if it was deleted."""
    environment: Environment | None
    labels: dict[str, str]
    priority: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    def line(self) -> str:
        """Return the job in one line: where it stands, and what it has found so far."""
        name = f" {self.name!r}" if self.name else ""
        said = [
            f"{self.kind} job {self.id}{name}: {self._status()}",
            f"step {self.progress.step} of {self.progress.total}",
        ]
        if self.queue is not None:
            said[1] = self.queue.line()
        if self.error is not None:
            said.append(self.error.code)
        if headline := self._told().headline():
            said.append(headline)
        if self.status not in ENDED and (estimate := self._told().estimate()):
            said.append(estimate)
        return ", ".join(said)

    def table(self) -> dict[str, object]:
        """Return what all jobs have, and then what this kind of job has to say."""
        return {
            "job": self.id,
            "kind": self.kind,
            "name": self.name,
            "status": self._status(),
            "step": f"{self.progress.step} of {self.progress.total}",
            "place in the queue": self.queue and f"{self.queue.position}{'' if self.queue.exact else ' or later'}",
            "estimate": None if self.status in ENDED else self._told().estimate(),
            "time left": None
            if self.progress.eta_seconds is None or self.status != "running"
            else duration(self.progress.eta_seconds),
            "error": self.error and f"{self.error.message} ({self.error.code})",
            "labels": self.labels or None,
            "created": self.created_at,
            "ended": self.ended_at,
            **self._told().details(),
        }

    def row(self) -> dict[str, object]:
        """Return the cells of this job's line in a list."""
        return {
            "job": self.id,
            "kind": self.kind,
            "name": self.name,
            "status": self.status,
            "step": f"{self.progress.step} of {self.progress.total}",
            "headline": self._told().headline(),
            "created": self.created_at,
        }

    def _status(self) -> str:
        return self.status + (f" ({self.requested} requested)" if self.requested else "")

    def _told(self) -> Summary:
        """Return the summary; nothing to say where it is of a kind that only a newer server knows."""
        summary: Any = self.summary
        return summary if isinstance(summary, Summary) else Summary()


class DryRun(Shown, Response):
    """What a job would be and cost. Nothing was stored."""

    config: JobConfig
    parameters: int
    """Number of parameters of one replica."""
    total: int
    """Steps that its progress would count."""
    memory_bytes: int
    """Estimated peak memory of the tensors."""
    seconds: float
    """Estimated time on one CPU worker, right to a factor of about three."""
    baseline_loss: float | None
    """Expected loss of the task's trivial predictor; null for a job that measures no loss."""
    notes: list[str] = []
    """What to know before the job is submitted."""

    def line(self) -> str:
        """Return what the job would cost in one line."""
        memory = f"{self.memory_bytes / 2**20:.1f} MiB"
        time = f"about {duration(self.seconds)} on one CPU worker"
        return f"dry run: {self.total} steps, {time}, {memory}; nothing was stored"

    def table(self) -> dict[str, object]:
        """Return what the job would be and cost."""
        return {
            "parameters of a replica": self.parameters,
            "steps": self.total,
            "memory": f"{self.memory_bytes / 2**20:.1f} MiB",
            "time": f"about {duration(self.seconds)} on one CPU worker",
            "baseline loss": self.baseline_loss,
            "notes": self.notes or None,
        }


class Artifact(Response):
    """A named file that a job made, besides metrics and checkpoints."""

    name: str
    media_type: str
    size: int
    """Bytes of the content."""
    sha256: str
    """Hash of the content, which is also its ETag."""
    created_at: datetime


EventType = Literal[
    "queued",
    "started",
    "progress",
    "evaluation",
    "checkpoint",
    "artifact",
    "replica_diverged",
    "replica_stopped",
    "lag_profile",
    "environment_changed",
    "rewind",
    "pause_requested",
    "cancel_requested",
    "paused",
    "interrupted",
    "end",
]
"""
queued {reason}: submitted, resumed, retried, drained, or the cause of a crash. started {attempt, worker, step}.
progress {step, total, steps_per_second, eta_seconds}, and of a train job the loss. evaluation {step, loss, best}.
checkpoint {checkpoint, step, best}. artifact {name, media_type, size, sha256}.
replica_diverged: a Divergence. replica_stopped: a Stop.
lag_profile {step, lag, norm}: norm[replica][k] is that of dL/dh at time step T - lag[k], over batch and units;
time steps of an encoder_decoder are those of its encoder and then those of its decoder.
environment_changed {before, now}. rewind {to_step, attempt}: later metrics were withdrawn and will be computed again.
interrupted {cause, crashes}.
end {status, error}: the last event unless the job is retried.
"""


class Event(Response):
    """One entry of a job's append-only journal; `seq` counts from 1 without gaps."""

    seq: int
    type: EventType
    time: datetime
    data: dict[str, Any]


class Series(Response):
    """One metric of one replica."""

    name: str
    replica: int
    steps: list[int]
    values: list[float | None]
    """Null if the value is not finite."""


class Metrics(Response):
    """Metrics of a job. If a series was thinned, its end points and extremes are kept."""

    job: str
    last_step: int
    """The last step that has metrics; 0: none yet."""
    downsampled: bool
    series: list[Series]
    next: int | None = None
    """`from_step` of the next page, if the answer was cut at the server's limit of values. Null: it is complete."""
