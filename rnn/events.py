"""What jobs of every kind say while they run. NumPy only: the process that records these never loads torch.

`Started` is the first event and `End` the last. A kind translates what it finds into these, so that whoever records
them needs to know no kind. What a training run says besides is in `rnn.training.events`.
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
    """Metrics of one step, each with one value for each replica.

    `values` maps names to float64 arrays [R]. Of a training step they are those of the weights before its update, and
    NaN for a replica that has diverged or stopped: "loss", "gradient_norm" (global, before clipping) and
    "learning_rate"; with clipping "clipped_norm" (after it) and "clipped_fraction" (of the gradient's numbers; by
    global norm it is 0 or 1); with regularisation "penalty", which "loss" does not include.
    """

    step: int
    values: dict[str, npt.NDArray[np.float64]]


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
