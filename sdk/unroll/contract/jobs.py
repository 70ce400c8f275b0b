"""Jobs: what is asked for, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from unroll.contract.base import Name, Request, Response
from unroll.contract.data import TaskData
from unroll.contract.limits import MAX_LABELS, MAX_REPLICAS
from unroll.contract.network import Network
from unroll.contract.training import Training

JobStatus = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
ENDED: frozenset[JobStatus] = frozenset({"succeeded", "failed", "cancelled"})
Requested = Literal["cancel", "pause"]
Device = Literal["auto", "cpu", "cuda"]
DType = Literal["float32", "float64"]
StopReason = Literal["early_stopping", "skill_reached"]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Any text without control characters, which PostgreSQL could not search."""


class TrainJob(Request):
    """Train R networks of one configuration, each with its own seed, as one batched computation."""

    kind: Literal["train"] = "train"
    name: Name | None = None
    """A name for people; need not be unique."""
    model: Name | Network
    """A registered model's name, or a configuration."""
    data: TaskData
    """What to train on."""
    training: Training
    """How to train."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Initial parameters and data of replica r depend only on (seed, r)."""
    replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 1
    """R, independently seeded networks."""
    device: Device = "auto"
    """Where to train; auto: on whichever worker is free first."""
    dtype: DType = "float32"
    """Precision of parameters and arithmetic. float64 runs in the workspace engine."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Stop after this much training time in one attempt, with a last evaluation and checkpoint."""
    labels: Annotated[dict[Label, Label], Field(max_length=MAX_LABELS)] = {}
    """Your own words to filter by."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Higher starts earlier; equal priorities start by age."""


class Progress(Response):
    """How far the job is."""

    step: int
    total: int
    loss: list[float | None] | None = None
    """The latest training loss of each replica; null for one that diverged or stopped."""
    steps_per_second: float | None = None
    eta_seconds: float | None = None


class QueuePosition(Response):
    """Where a queued job waits."""

    position: int
    """Queued jobs that start before this one, of any tenant."""


class JobError(Response):
    """Why a job failed."""

    code: Literal["all_replicas_diverged", "crashed", "stalled", "out_of_memory", "training_error", "bad_checkpoint"]
    message: str
    step: int | None = None
    """The last step known to have run."""
    checkpoint: str | None = None
    """The last good checkpoint."""
    log: str | None = None
    """The end of the trainer's log."""


class Best(Response):
    """The best network so far: a checkpoint and a replica in it, by held-out loss."""

    checkpoint: str
    replica: int
    loss: float


class Divergence(Response):
    """A replica whose loss or gradient stopped being finite; it was frozen before that step's update."""

    replica: int
    step: int
    loss: float | None
    gradient_norm: float | None
    """Null where it is not finite."""
    hint: str | None = None
    """What may help, guessed from the configuration and the moment."""


class Stop(Response):
    """A replica that was trained enough; it kept the weights that it had after this step."""

    replica: int
    step: int
    reason: StopReason
    loss: float | None
    """Its held-out loss; null where it is not finite."""


class Environment(Response):
    """What a run's bits depend on besides its configuration."""

    worker: str
    device: str
    engine: str
    torch: str
    threads: int
    instruction_set: str


class Job(Response):
    """A job, as it is now."""

    id: str
    kind: Literal["train"]
    name: str | None
    status: JobStatus
    requested: Requested | None
    """What a user asked for that the worker has not acted on yet."""
    attempt: int
    """How often a worker has claimed the job; the fence of its writes."""
    crashes: int
    """Attempts that ended without progress since the last checkpoint."""
    progress: Progress
    queue: QueuePosition | None
    error: JobError | None
    config: TrainJob
    """The configuration in full, a registered model's name replaced by its configuration."""
    model: str | None
    """The registered model that is trained, if any."""
    parameters: int
    """Parameters of one replica."""
    baseline_loss: float
    """Expected loss of the task's trivial predictor."""
    best: Best | None
    last_checkpoint: str | None
    diverged: list[Divergence]
    environment: Environment | None
    stopped: Literal["max_seconds"] | StopReason | None
    """Why a succeeded job ended before its last step; with early stopping or a skill to reach: why the last replica
    stopped that did."""
    stopped_replicas: list[Stop] = []
    """Replicas that stopped before the last step, in that order."""
    labels: dict[str, str]
    priority: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class DryRun(Response):
    """What a job would be and cost; nothing was stored."""

    config: TrainJob
    parameters: int
    """Parameters of one replica."""
    memory_bytes: int
    """Estimated peak memory of the trainer's tensors."""
    seconds: float
    """Estimated training time on one CPU worker; good to a factor of about three."""
    baseline_loss: float


EventType = Literal[
    "queued",
    "started",
    "progress",
    "evaluation",
    "checkpoint",
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
progress {step, total, loss, steps_per_second, eta_seconds}. evaluation {step, loss, best}.
checkpoint {checkpoint, step, best}. replica_diverged: a Divergence. replica_stopped: a Stop.
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
    """Null where the value is not finite."""


class Metrics(Response):
    """Metrics of a job. Where a series was thinned, its end points and extremes are kept."""

    job: str
    last_step: int
    """The last step that has metrics; 0: none yet."""
    downsampled: bool
    series: list[Series]
    next: int | None = None
    """Where this was cut at the server's limit of values: `from_step` of the next page. Null: this was all."""
