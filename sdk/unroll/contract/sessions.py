"""Sessions: the hidden state of a live stream, kept by the server between requests."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from unroll.contract.base import Request, Response
from unroll.contract.inference import Replica, Sequence, State

MAX_SESSION_SEQUENCES = 1024
MAX_TTL_SECONDS = 30 * 24 * 3600.0


class NewSession(Request):
    """A stream through one network, which a model serves or a checkpoint holds."""

    model: str | None = None
    """Name of a registered model. The session keeps the checkpoint that the model serves now."""
    checkpoint: str | None = None
    """Id of a checkpoint, instead of a model."""
    replica: Replica = "best"
    """Which replica to run: an index, the best by held-out loss, or all of them."""
    sequences: Annotated[int, Field(ge=1, le=MAX_SESSION_SEQUENCES)] = 1
    """Number of sequences that go on side by side."""
    ttl: Annotated[float, Field(ge=1, le=MAX_TTL_SECONDS)] = 3600.0
    """Seconds after the last step at which the session expires."""

    @model_validator(mode="after")
    def _one_network(self) -> NewSession:
        if (self.model is None) == (self.checkpoint is None):
            raise ValueError("name either a model or a checkpoint")
        return self


class Session(Response):
    """A session as it is now."""

    id: str
    model: str | None
    checkpoint: str
    replica: int | Literal["all"]
    sequences: int
    step: int
    """Number of steps done. The next step's If-Match is this number in quotes."""
    durable_step: int
    """Number of steps whose state is in the database. After a crash of the server the session goes on from here."""
    ttl: float
    created_at: datetime
    expires_at: datetime


class StepRequest(Request):
    """The next steps of a session."""

    inputs: Annotated[list[Sequence], Field(min_length=1, max_length=MAX_SESSION_SEQUENCES, fail_fast=True)]
    """inputs[sequence][t][i]: one or more steps for each sequence of the session, for all the same number."""


class StepResponse(Response):
    """What the network gives for the steps."""

    outputs: list[Any]
    """outputs[sequence][t][o], or outputs[sequence][replica][t][o] if all replicas run."""
    step: int
    """Number of steps done, these included."""
    durable_step: int
    """Number of steps whose state was in the database when this was answered."""


class SessionState(Request):
    """The hidden state of a session, for each of its sequences."""

    state: Annotated[list[State], Field(min_length=1, max_length=MAX_SESSION_SEQUENCES, fail_fast=True)]
    """State of each sequence, as predict returns it."""
