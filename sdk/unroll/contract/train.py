"""The kind of job that trains networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Name, Request, Response
from unroll.contract.data import Data
from unroll.contract.limits import MAX_REPLICAS
from unroll.contract.network import Network
from unroll.contract.submission import DType, JobRequest
from unroll.contract.summary import Summary
from unroll.contract.training import Training

StopReason = Literal["early_stopping", "skill_reached"]


class TrainJob(JobRequest):
    """Train R networks of one configuration, each with its own seed, as one batched computation."""

    kind: Literal["train"] = "train"
    model: Name | Network
    """A registered model's name, or a configuration."""
    data: Data
    """The data to train on. The bare name of a task stands for the task with its default parameters."""
    training: Training
    """How to train."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Initial parameters and data of replica r depend only on (seed, r)."""
    replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 1
    """R, the number of independently seeded networks."""
    dtype: DType = "float32"
    """Precision of parameters and arithmetic. float64 runs in the workspace engine."""

    def model_named(self) -> str | None:
        """Return the registered model's name, if the job names one."""
        return self.model if isinstance(self.model, str) else None

    def with_model(self, network: Request) -> TrainJob:
        """Return the same job with the network's configuration in full."""
        return self.model_copy(update={"model": network})


class Best(Response):
    """The best network so far: a checkpoint and a replica in it, by held-out loss."""

    checkpoint: str
    replica: int
    loss: float


class Divergence(Response):
    """A replica whose loss or gradient stopped being finite. It kept the weights from before that step."""

    replica: int
    step: int
    loss: float | None
    gradient_norm: float | None
    """Null if it is not finite."""
    hint: str | None = None
    """What may help, guessed from the configuration and the step."""


class Stop(Response):
    """A replica that was trained enough. It kept the weights from after this step."""

    replica: int
    step: int
    reason: StopReason
    loss: float | None
    """Its held-out loss; null if it is not finite."""


class TrainSummary(Summary):
    """What a train job reports."""

    kind: Literal["train"] = "train"
    parameters: int
    """Number of parameters of one replica."""
    baseline_loss: float
    """Expected loss of the task's trivial predictor."""
    model: str | None = None
    """The registered model that is trained, if any."""
    loss: list[float | None] | None = None
    """The latest training loss of each replica; null for one that diverged or stopped."""
    best: Best | None = None
    last_checkpoint: str | None = None
    diverged: list[Divergence] = []
    stopped: Literal["max_seconds"] | StopReason | None = None
    """Why a succeeded job ended before its last step. With early stopping or a skill to reach, the reason of the
    replica that stopped last."""
    stopped_replicas: list[Stop] = []
    """Replicas that stopped before the last step, in that order."""

    def headline(self) -> str | None:
        """Return the best held-out loss and the baseline."""
        if self.best is None:
            return None
        return f"best loss {self.best.loss:.4g}, baseline {self.baseline_loss:.4g}"

    def details(self) -> dict[str, object]:
        """Return everything there is to say, each under the name that people are shown."""
        return {
            "model": self.model,
            "parameters": self.parameters,
            "baseline loss": self.baseline_loss,
            "best loss": self.best and self.best.loss,
            "best network": self.best and f"replica {self.best.replica} of {self.best.checkpoint}",
            "last checkpoint": self.last_checkpoint,
            "diverged replicas": ", ".join(str(one.replica) for one in self.diverged) or None,
            "hint": next((one.hint for one in self.diverged if one.hint), None),
            "stopped by": self.stopped,
            "stopped replicas": ", ".join(f"{one.replica} at {one.step}" for one in self.stopped_replicas) or None,
        }

    def notes(self) -> list[str]:
        """Return a line for each replica that diverged or stopped. A hint is given once, with the first."""
        said = []
        hint = next((one for one in self.diverged if one.hint), None)
        for one in self.diverged:
            norm = "not finite" if one.gradient_norm is None else f"{one.gradient_norm:.3g}"
            said.append(
                f"replica {one.replica} diverged at step {one.step} (gradient norm {norm}); the others train on"
            )
            if one is hint:
                said.append(f"  {one.hint}")
        for stop in self.stopped_replicas:
            loss = "not finite" if stop.loss is None else f"{stop.loss:.4g}"
            why = _WHY.get(stop.reason, stop.reason)
            said.append(f"replica {stop.replica} stopped at step {stop.step}: {why} (held-out loss {loss})")
        return said


_WHY = {"early_stopping": "no improvement any more", "skill_reached": "the skill was reached"}
