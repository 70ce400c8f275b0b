"""Stores what resuming a training run needs besides its weights, as bytes. NumPy only, no pickle.

`weights` are the bytes of `rnn.networks.weights`.

`state` is safetensors with the optimiser's moments [R, P], with `diverged.step`, `diverged.loss` and
`diverged.gradient_norm` [R] (step 0: the replica has not diverged), `stopping.*` [R] (see rnn.training.stopping),
`usual_norm` [R] (see rnn.training.divergence), and metadata: the step, the best evaluation so far, the environment, the
job, and the hash of the weights that it belongs to. It holds no random state, because data are addressed by (seed,
replica, step).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from rnn.errors import CheckpointError, ConfigurationError
from rnn.events import Environment
from rnn.networks import parameters
from rnn.networks.weights import StoredNetworks, load_weights, read_container, write_container
from rnn.training.problem import Problem
from rnn.training.stopping import Stopping
from unroll.contract import Adam, AdamW, Optimizer, RMSprop, TrainJob

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Best:
    """The best evaluation so far."""

    step: int
    replica: int
    loss: float


@dataclass(frozen=True, slots=True)
class DivergedReplicas:
    """When and how replicas diverged, as arrays [R]. Step 0 means that the replica has not diverged."""

    step: npt.NDArray[np.int64]
    loss: npt.NDArray[np.float64]
    gradient_norm: npt.NDArray[np.float64]

    @classmethod
    def none(cls, replicas: int) -> DivergedReplicas:
        """Return the record before any replica has diverged."""
        nan = np.full(replicas, np.nan)
        return cls(np.zeros(replicas, np.int64), nan, nan.copy())


@dataclass(frozen=True, slots=True)
class State:
    """What resuming needs besides the weights."""

    step: int
    moments: dict[str, Array]
    diverged: DivergedReplicas
    best: Best | None
    environment: Environment
    problem: Problem
    """The problem that determines the numbers of a step. Its schedule and its time limit may be those of an earlier
    run."""
    weights_sha256: str
    stopping: Stopping
    usual_norm: npt.NDArray[np.float64]
    """The usual gradient norm, [R] (see rnn.training.divergence); NaN: not known."""
    raw: Array | None = None
    """The raw parameters that the optimiser changes, [R, P], if constraints make the weights from them (see
    rnn.bptt.constraints)."""


def moment_names(config: Optimizer) -> tuple[str, ...]:
    """Return the names of the optimiser's running averages, in the order in which they are kept."""
    if isinstance(config, Adam | AdamW):
        return ("exp_avg", "exp_avg_sq")
    averages = ("square_avg",) if isinstance(config, RMSprop) else ()
    return (*averages, "momentum_buffer") if config.momentum else averages


def dump_state(state: State) -> bytes:
    """Return the state as bytes."""
    diverged = state.diverged
    tensors: dict[str, Array] = {
        **state.moments,
        "diverged.step": diverged.step,
        "diverged.loss": diverged.loss,
        "diverged.gradient_norm": diverged.gradient_norm,
        "usual_norm": state.usual_norm,
    }
    tensors |= {f"stopping.{name}": getattr(state.stopping, name) for name in _STOPPING}
    if state.raw is not None:
        tensors["raw"] = state.raw
    best = state.best and {"step": state.best.step, "replica": state.best.replica, "loss": state.best.loss}
    about = {
        "step": state.step,
        "best": best,
        "environment": state.environment,
        "job": _job(state.problem),
        "weights_sha256": state.weights_sha256,
    }
    return write_container(tensors, about)


def load_state(content: bytes) -> State:
    """Read the state in `content`. Raises CheckpointError if it is damaged or not in this format."""
    about, tensors = read_container(content)
    try:
        # Older states use the name frozen.
        prefix = "frozen" if "frozen.step" in tensors else "diverged"
        diverged = DivergedReplicas(*(tensors.pop(f"{prefix}.{name}").copy() for name in _DIVERGED))
        raw = tensors.pop("raw", None)
        usual = tensors.pop("usual_norm", np.full(len(diverged.step), np.nan)).copy()
        # States from before early stopping existed have none of these.
        stopping = Stopping.none(len(diverged.step))
        if "stopping.step" in tensors:
            stopping = Stopping(*(tensors.pop(f"stopping.{name}").copy() for name in _STOPPING))
        return State(
            step=about["step"],
            raw=raw,
            moments=tensors,
            diverged=diverged,
            stopping=stopping,
            usual_norm=usual,
            best=about["best"] and Best(**about["best"]),
            environment=about["environment"],
            problem=Problem.of(TrainJob.model_validate_json(json.dumps(about["job"]))),
            weights_sha256=about["weights_sha256"],
        )
    except (KeyError, TypeError, ValidationError, ConfigurationError) as error:
        raise CheckpointError(f"this is not the state of a training run: {error}") from None


def restore(problem: Problem, weights: bytes, state: bytes) -> tuple[StoredNetworks, State]:
    """Read both parts, and check that they belong together and to a run of this problem. Raises CheckpointError.

    Steps, intervals, names and the like may differ, but not what determines the numbers of a step.
    """
    networks, saved = load_weights(weights), load_state(state)
    if saved.weights_sha256 != hashlib.sha256(weights).hexdigest():
        raise CheckpointError("the state was saved with other weights")
    before, now = _numbers(saved.problem), _numbers(problem)
    differing = [field for field in now if before[field] != now[field]]
    held = networks.network, networks.dtype, networks.replicas
    if held != (problem.network, problem.dtype, problem.replicas):
        differing.append("weights")
    if differing:
        raise CheckpointError(f"the checkpoint is of another run: {', '.join(differing)} differ")
    shape = (problem.replicas, parameters.count(networks.network))
    if {name: moment.shape for name, moment in saved.moments.items()} != dict.fromkeys(
        moment_names(problem.training.optimizer), shape
    ):
        raise CheckpointError("the optimiser's moments do not fit the network")
    if saved.raw is not None and saved.raw.shape != shape:
        raise CheckpointError("the raw parameters do not fit the network")
    if any(len(row) != problem.replicas for row in _of_replicas(saved)):
        raise CheckpointError("the record of diverged and stopped replicas does not fit the job")
    return networks, saved


def _of_replicas(saved: State) -> tuple[Array, ...]:
    """Return the arrays that must have one entry for each replica."""
    return saved.diverged.step, saved.diverged.loss, saved.stopping.step, saved.usual_norm


def _job(problem: Problem) -> dict[str, Any]:
    """Return the problem's job as JSON, without fields that concern only people and machines."""
    return {
        "kind": "train",
        "model": problem.network.model_dump(mode="json"),
        "data": problem.source.config().model_dump(mode="json"),
        "training": problem.training.model_dump(mode="json"),
        "seed": problem.seed,
        "replicas": problem.replicas,
        "dtype": problem.dtype,
    }


def _numbers(problem: Problem) -> dict[str, Any]:
    """Return what the numbers of a step depend on.

    They are parsed models, so that a new field with its default value makes no difference.
    """
    training = problem.training
    return {
        "model": problem.network,
        "data": problem.source.config(),
        "seed": problem.seed,
        "replicas": problem.replicas,
        "dtype": problem.dtype,
        **{
            f"training.{name}": getattr(training, name) for name in type(training).model_fields if name not in _SCHEDULE
        },
    }


_DIVERGED = ("step", "loss", "gradient_norm")
_STOPPING = ("step", "reason", "lowest", "waited")
_SCHEDULE = ("steps", "evaluate_every", "checkpoint_every", "keep_checkpoints", "log_every", "profile_every")
