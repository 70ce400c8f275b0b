"""What resuming a training run needs besides its weights, as bytes. NumPy only, no pickle.

`weights` are the bytes of `rnn.networks.weights`.

`state` is safetensors with the optimiser's moments [R, P], with `diverged.step`, `diverged.loss` and
`diverged.gradient_norm` [R] (step 0: the replica has not diverged), `stopping.*` [R] (see rnn.training.stopping),
`usual_norm` [R] (see rnn.training.divergence), and metadata: the step, the best evaluation so far, the environment, the
job, and the hash of the weights that it belongs to. There is no random state: data are addressed by (seed, replica,
step).
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
    """When and how replicas diverged, arrays [R]; step 0: this one has not."""

    step: npt.NDArray[np.int64]
    loss: npt.NDArray[np.float64]
    gradient_norm: npt.NDArray[np.float64]

    @classmethod
    def none(cls, replicas: int) -> DivergedReplicas:
        """Return the record before any has diverged."""
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
    """What the numbers of a step depend on; its schedule and its time limit may be those of an earlier run."""
    weights_sha256: str
    stopping: Stopping
    usual_norm: npt.NDArray[np.float64]
    """Of the gradient, [R] (see rnn.training.divergence); NaN: not known."""
    raw: Array | None = None
    """What the optimiser moves, [R, P], where constraints make the weights of it (see rnn.bptt.constraints)."""


def moment_names(config: Optimizer) -> tuple[str, ...]:
    """The optimiser's running averages, in the order they are kept."""
    if isinstance(config, Adam | AdamW):
        return ("exp_avg", "exp_avg_sq")
    averages = ("square_avg",) if isinstance(config, RMSprop) else ()
    return (*averages, "momentum_buffer") if config.momentum else averages


def dump_state(state: State) -> bytes:
    """The state as bytes."""
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
    """The state in `content`. Raises CheckpointError if it is torn or foreign."""
    about, tensors = read_container(content)
    try:
        # Older states say frozen.
        prefix = "frozen" if "frozen.step" in tensors else "diverged"
        diverged = DivergedReplicas(*(tensors.pop(f"{prefix}.{name}").copy() for name in _DIVERGED))
        raw = tensors.pop("raw", None)
        usual = tensors.pop("usual_norm", np.full(len(diverged.step), np.nan)).copy()
        # States of before there was stopping have none of it.
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
    """Both parts, checked to belong together and to a run of this problem. Raises CheckpointError.

    Steps, intervals, names and the like may differ; what determines the numbers of a step may not.
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
    """What must have one entry a replica."""
    return saved.diverged.step, saved.diverged.loss, saved.stopping.step, saved.usual_norm


def _job(problem: Problem) -> dict[str, Any]:
    """Return the job that the problem is of, as JSON, without what is only about people and machines."""
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
    """What the numbers of a step depend on, as parsed models, so that a new field's default makes no difference."""
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
