"""The events of jobs of every kind. NumPy only: the process that records them never loads torch.

`Started` is the first event and `End` the last. A kind translates its own events into these, so the code that records
them does not depend on the kind. The other events of a training run are in `rnn.training.events`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unroll.contract import Certificate, DType, EventType, JobErrorCode, Loss, Network, TaskData

Reason = Literal["periodic", "best", "last", "interrupted"]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of one step, with one value for each replica.

    `values` maps names to float64 arrays [R]. Metrics of a training step describe the weights before its update, and
    are NaN for a replica that has diverged or stopped: "loss", "gradient_norm" (global, before clipping) and
    "learning_rate"; with clipping "clipped_norm" (after it) and "clipped_fraction" (of the gradient's numbers; by
    global norm it is 0 or 1); with regularisation "penalty", which "loss" does not include.
    """

    step: int
    values: dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class CheckpointOf:
    """Describes a checkpoint's weights, so that nobody needs to read the job that made them."""

    network: Network
    dtype: DType
    replicas: int
    data: TaskData | None = None
    """The data that the weights were trained on."""
    loss: Loss | None = None
    """The loss that they were trained to minimise."""
    keep: int | None = None
    """How many of the newest checkpoints of the job are kept; None: all."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All replicas after this step's update.

    `weights` is for use (see rnn.networks.weights), `state` only for resuming (see rnn.training.resume).
    """

    step: int
    reason: Reason
    weights: bytes
    state: bytes
    losses: tuple[float | None, ...] | None
    """Held-out losses if this step was evaluated. An entry is None if it is not finite or the replica diverged."""
    best_replica: int | None
    certificate: Certificate | None = None
    """Proof that the weights satisfy the network's constraints; None for a cell without recurrent weights."""
    about: CheckpointOf | None = None
    """What the weights are. A kind of job sets it before it passes the checkpoint on."""


Environment = dict[str, Any]
"""device, engine, torch, threads, instruction_set: what a run's bits depend on besides its configuration."""


@dataclass(frozen=True, slots=True)
class Started:
    """The first event: the job is about to start its work."""

    environment: Environment


@dataclass(frozen=True, slots=True)
class Progress:
    """The job has done this many of its steps."""

    step: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry in the job's journal."""

    step: int
    type: EventType
    data: dict[str, Any]
    """JSON."""
    collect: str | None = None
    """The name of a list in the job's summary to which `data` is also added."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that the job made. It replaces an earlier one with the same name."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """The job's result: `content` becomes the artifact `result.json`, and `summary` is added to the job's summary."""

    content: dict[str, Any]
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True)
class End:
    """The last event of a job."""

    step: int
    outcome: Literal["succeeded", "failed", "preempted"]
    summary: dict[str, Any] = field(default_factory=dict)
    """Fields that are added to the job's summary."""
    error: tuple[JobErrorCode, str] | None = None
    """Code and message, if the job failed."""


Event = Started | Metrics | Progress | Entry | Checkpoint | Artifact | Result | End
