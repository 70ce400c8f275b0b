"""What training says, in order. NumPy only: the process that records these never loads torch.

Within a step: Metrics, LagProfile, Diverged for each replica that froze, Evaluation, Stopped for each replica that it
stops, Checkpoint; Done is the last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unroll.contract import Certificate, DType, EventType, JobErrorCode, Loss, Network, StopReason, TaskData

Reason = Literal["periodic", "best", "last", "interrupted"]
Outcome = Literal["completed", "max_seconds", "preempted", "all_diverged", "early_stopping", "skill_reached"]
"""The last two: every replica has stopped or diverged; why the last one to stop did."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Training metrics of one step, before its update.

    `values` maps names to float64 arrays [R], NaN after a replica froze or stopped: "loss", "gradient_norm" (global,
    before clipping) and "learning_rate"; with clipping "clipped_norm" (after it) and "clipped_fraction" (of the
    gradient's numbers; by global norm 0 or 1); with regularisation "penalty", which "loss" is without.
    """

    step: int
    values: dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Diverged:
    """A replica whose loss, gradient norm or update was not finite. It stays as it was before this step."""

    step: int
    replica: int
    loss: float
    gradient_norm: float
    hint: str = ""
    """What may help (see rnn.training.divergence)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Held-out loss of every replica after this step's update; NaN for one that has diverged."""

    step: int
    loss: npt.NDArray[np.float64]
    best_replica: int | None
    """The lowest finite loss of this evaluation; None if there is none."""
    improved: bool
    """Whether that is the lowest of the run so far."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A replica was trained enough and keeps the weights of this step (see `rnn.training.stopping`)."""

    step: int
    replica: int
    reason: StopReason
    loss: float
    """Its held-out loss."""


@dataclass(frozen=True, slots=True)
class LagProfile:
    """How far back gradients reach at this step, before its update."""

    step: int
    lag: npt.NDArray[np.int64]
    """Time steps before the last one, [K], rising from 0; an encoder's come before its decoder's."""
    norm: npt.NDArray[np.float64]
    """‖dL/dh[T - lag]‖ over batch and units of the last layer, [R, K]; NaN for a replica that is not trained."""


@dataclass(frozen=True, slots=True)
class CheckpointOf:
    """What a checkpoint's weights are, so that nobody has to look at the job that made them."""

    network: Network
    dtype: DType
    replicas: int
    data: TaskData | None = None
    """What they were trained on."""
    loss: Loss | None = None
    """What they were trained to minimise."""
    keep: int | None = None
    """How many of the newest checkpoints of the job are kept; None: all."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All replicas after this step's update: `weights` to use (see rnn.training.resume), `state` only to resume."""

    step: int
    reason: Reason
    weights: bytes
    state: bytes
    losses: tuple[float | None, ...] | None
    """Held-out losses where this step was evaluated; None in it: not finite, or diverged."""
    best_replica: int | None
    certificate: Certificate | None = None
    """That the weights keep the network's constraints; None for a cell without recurrent weights."""
    about: CheckpointOf | None = None
    """What the weights are; a kind of job says so before it hands the checkpoint over."""


@dataclass(frozen=True, slots=True)
class Done:
    """The last event."""

    step: int
    outcome: Outcome


TrainingEvent = Metrics | LagProfile | Diverged | Evaluation | Stopped | Checkpoint | Done
Environment = dict[str, Any]
"""device, engine, torch, threads, instruction_set: what a run's bits depend on besides its configuration."""


@dataclass(frozen=True, slots=True)
class Started:
    """The job is about to do its work; the first event."""

    environment: Environment


@dataclass(frozen=True, slots=True)
class Progress:
    """So many of the job's steps are done."""

    step: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the job's journal."""

    step: int
    type: EventType
    data: dict[str, Any]
    """JSON."""
    collect: str | None = None
    """A list in the job's summary that keeps `data` too."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that the job made. One of the same name replaces it."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """What the job found: `content` becomes the artifact `result.json`, `summary` goes into the job's summary."""

    content: dict[str, Any]
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True)
class End:
    """The last event of a job."""

    step: int
    outcome: Literal["succeeded", "failed", "preempted"]
    summary: dict[str, Any] = field(default_factory=dict)
    """What goes into the job's summary."""
    error: tuple[JobErrorCode, str] | None = None
    """Code and message, of a job that failed."""


Event = Started | Metrics | Progress | Entry | Checkpoint | Artifact | Result | End
