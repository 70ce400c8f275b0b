"""Checkpoints, registered models, and which checkpoint a model serves."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from unroll.contract.base import Name, Request, Response
from unroll.contract.connectivity import Certificate
from unroll.contract.data import TaskData
from unroll.contract.network import Network
from unroll.contract.shown import Shown
from unroll.contract.submission import DType
from unroll.contract.training import Loss


class Checkpoint(Shown, Response):
    """The weights of all R replicas at one step of the job that made them."""

    id: str
    job: str
    step: int
    sha256: str
    """Hash of the safetensors content, which is also its ETag; equal networks have equal hashes."""
    size: int
    """Bytes of the content."""
    reason: Literal["periodic", "best", "last", "interrupted"]
    losses: list[float | None] | None
    """Held-out loss of each replica, if this step was evaluated."""
    best_replica: int | None
    """The replica with the lowest held-out loss; null if this step was not evaluated."""
    replicas: int
    resumable: bool
    """Whether the optimiser's state is still kept, so that training can continue from here."""
    network: Network
    dtype: DType
    """Precision of the weights."""
    data: TaskData | None = None
    """The data that the networks were trained on; null if they were not trained."""
    loss: Loss | None = None
    """The loss that they were trained to minimise; null if they were not trained."""
    certificate: Certificate | None = None
    """Evidence that the recurrent weights obey the constraints; null for a cell that has none."""
    created_at: datetime

    def line(self) -> str:
        """Return the checkpoint in one line."""
        networks = "1 network" if self.replicas == 1 else f"{self.replicas} networks"
        best = "" if self._best() is None else f", best held-out loss {self._best():.4g} (replica {self.best_replica})"
        return f"checkpoint {self.id} of {self.job}: step {self.step}, {networks}{best}"

    def table(self) -> dict[str, object]:
        """Return what a person wants to know of a checkpoint."""
        return {
            "checkpoint": self.id,
            "job": self.job,
            "step": self.step,
            "network": _words(self.network),
            "replicas": self.replicas,
            "held-out losses": self.losses,
            "best replica": self.best_replica,
            "task": self.data and self.data.name,
            "reason": self.reason,
            "bytes": self.size,
            "created": self.created_at,
        }

    def row(self) -> dict[str, object]:
        """Return the cells of this checkpoint's line in a list."""
        table = self.table()
        return {name: table[name] for name in ("checkpoint", "step", "reason")} | {
            "best held-out loss": self._best(),
            "best replica": self.best_replica,
            "created": self.created_at,
        }

    def _best(self) -> float | None:
        return self.losses[self.best_replica] if self.losses and self.best_replica is not None else None


class Pin(Request):
    """A checkpoint and a replica."""

    checkpoint: Annotated[str, Field(examples=["ckpt_01kjqv1a2b3c4d5e6f7g8h9j0k"])]
    """The checkpoint's id."""
    replica: Annotated[int, Field(ge=0)] | Literal["best"] = "best"
    """The replica: an index, or the best by held-out loss."""


class Candidate(Pin):
    """A checkpoint that answers a share of the requests, before it answers all."""

    share: Annotated[float, Field(gt=0, lt=1)]
    """The share of requests that the candidate answers, drawn for each request."""


class Serving(Pin):
    """The checkpoint and replica that a model's predict shall use."""

    candidate: Candidate | None = None
    """Another checkpoint that answers a share of the requests. Each answer names the checkpoint that gave it."""
    shadow: Pin | None = None
    """A checkpoint that runs the same requests, but whose answers nobody gets: they are compared, see /metrics."""


class NewModel(Request):
    """Register a network configuration under a name."""

    name: Annotated[Name, Field(examples=["integrator"])]
    """The name of the model. It stands in addresses: letters A to Z, digits, dot, underscore, hyphen."""
    config: Network
    """The network."""


class Pinned(Response):
    """A checkpoint and a replica of a model."""

    checkpoint: str
    replica: int


class ServedCandidate(Pinned):
    """A checkpoint that answers a share of the requests."""

    share: float


class Served(Pinned):
    """The checkpoint and replica that a model's predict uses."""

    pinned: bool
    """True: chosen by PUT serving; false: the best of the train job that finished last."""
    candidate: ServedCandidate | None = None
    """What answers a share of the requests instead."""
    shadow: Pinned | None = None
    """What runs the same requests to be compared."""


class Model(Shown, Response):
    """A registered configuration."""

    name: str
    config: Network
    parameters: int
    """Number of parameters of one replica."""
    serving: Served | None
    aliases: dict[str, Pinned] = {}
    """Names of checkpoints: predict at NAME@ALIAS uses that one."""
    created_at: datetime

    def line(self) -> str:
        """Return the model in one line."""
        serves = "serves nothing yet" if self.serving is None else f"serves {self._serves()}"
        return f"model {self.name!r}: {_words(self.config)}, {self.parameters} parameters, {serves}"

    def table(self) -> dict[str, object]:
        """Return what a person wants to know of a model."""
        return {
            "model": self.name,
            "network": _words(self.config),
            "parameters": self.parameters,
            "serves": self._serves(),
            "created": self.created_at,
        }

    def _serves(self) -> str | None:
        if self.serving is None:
            return None
        return f"replica {self.serving.replica} of {self.serving.checkpoint}" + (
            ", pinned" if self.serving.pinned else ""
        )


def _words(network: Any) -> str:
    """Return a network in a few words. One of a cell that only a newer server knows came as plain JSON."""
    cell = network.cell if isinstance(network, Network) else None
    if not isinstance(cell, Request):
        return "a network that this version does not know"
    layers = f" in each of {network.num_layers} layers" if network.num_layers > 1 else ""
    return f"{cell.type}, {cell.hidden_size} units{layers}, {network.architecture}"
