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
    """Of the safetensors content, which is also its ETag; equal networks have equal hashes."""
    size: int
    """Bytes of the content."""
    reason: Literal["periodic", "best", "last", "interrupted"]
    losses: list[float | None] | None
    """Held-out loss of each replica, where this step was evaluated."""
    best_replica: int | None
    """The replica with the lowest held-out loss; null if this step was not evaluated."""
    replicas: int
    resumable: bool
    """Whether the optimiser's state is still kept, so that training can go on from here."""
    network: Network
    dtype: DType
    """Precision of the weights."""
    data: TaskData | None = None
    """What the networks were trained on; null where they were not trained."""
    loss: Loss | None = None
    """What they were trained to minimise; null where they were not trained."""
    certificate: Certificate | None = None
    """What was counted in the recurrent weights; null for a cell that has none."""
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


class Serving(Request):
    """Pin what a model's predict uses."""

    checkpoint: str
    """The checkpoint's id."""
    replica: Annotated[int, Field(ge=0)] | Literal["best"] = "best"
    """Which of its replicas: an index, or the best by held-out loss."""


class NewModel(Request):
    """Register a network configuration under a name."""

    name: Name
    """What the model is called from now on."""
    config: Network
    """The network."""


class Served(Response):
    """What a model's predict uses."""

    checkpoint: str
    replica: int
    pinned: bool
    """True: chosen by PUT serving; false: the best of the train job that finished last."""


class Model(Shown, Response):
    """A registered configuration."""

    name: str
    config: Network
    parameters: int
    """Parameters of one replica."""
    serving: Served | None
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
