"""Checkpoints, registered models, and which checkpoint a model serves."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Name, Request, Response
from unroll.contract.connectivity import Certificate
from unroll.contract.data import TaskData
from unroll.contract.network import Network
from unroll.contract.submission import DType
from unroll.contract.training import Loss


class Checkpoint(Response):
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


class Serving(Request):
    """The checkpoint and replica that a model's predict shall use."""

    checkpoint: Annotated[str, Field(examples=["ckpt_01kjqv1a2b3c4d5e6f7g8h9j0k"])]
    """The checkpoint's id."""
    replica: Annotated[int, Field(ge=0)] | Literal["best"] = "best"
    """The replica: an index, or the best by held-out loss."""


class NewModel(Request):
    """Register a network configuration under a name."""

    name: Annotated[Name, Field(examples=["integrator"])]
    """The name of the model. It stands in addresses: letters A to Z, digits, dot, underscore, hyphen."""
    config: Network
    """The network."""


class Served(Response):
    """The checkpoint and replica that a model's predict uses."""

    checkpoint: str
    replica: int
    pinned: bool
    """True: chosen by PUT serving; false: the best of the train job that finished last."""


class Model(Response):
    """A registered configuration."""

    name: str
    config: Network
    parameters: int
    """Number of parameters of one replica."""
    serving: Served | None
    created_at: datetime
