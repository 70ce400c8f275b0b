"""The events of a training run, in order. NumPy only.

The order within a step: Metrics, LagProfile, Diverged for each replica that diverged, Evaluation, Stopped for each
replica that stops, Checkpoint. Done is the last event of the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from rnn.events import Checkpoint, Metrics
from unroll.contract import StopReason

Outcome = Literal["completed", "max_seconds", "preempted", "all_diverged", "early_stopping", "skill_reached"]
"""Why the run ended. The last two mean that every replica has stopped or diverged, and say why the last one stopped."""


@dataclass(frozen=True, slots=True)
class Diverged:
    """A replica diverged: its loss, gradient norm or update was not finite.

    It keeps its weights from before this step.
    """

    step: int
    replica: int
    loss: float
    gradient_norm: float
    hint: str = ""
    """What may help (see rnn.training.divergence)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The held-out loss of every replica after this step's update; NaN for a replica that has diverged."""

    step: int
    loss: npt.NDArray[np.float64]
    best_replica: int | None
    """The replica with the lowest finite loss in this evaluation; None if there is none."""
    improved: bool
    """Whether that loss is the lowest of the run so far."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A replica was trained enough and keeps the weights of this step (see `rnn.training.stopping`)."""

    step: int
    replica: int
    reason: StopReason
    loss: float
    """The replica's held-out loss."""


@dataclass(frozen=True, slots=True)
class LagProfile:
    """How far back gradients reach at this step, before its update."""

    step: int
    lag: npt.NDArray[np.int64]
    """Time steps before the last one, [K], rising from 0; an encoder's steps come before its decoder's."""
    norm: npt.NDArray[np.float64]
    """‖dL/dh[T - lag]‖ over batch and units of the last layer, [R, K]; NaN for a replica that is not trained."""


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of the run."""

    step: int
    outcome: Outcome


TrainingEvent = Metrics | LagProfile | Diverged | Evaluation | Stopped | Checkpoint | Done
