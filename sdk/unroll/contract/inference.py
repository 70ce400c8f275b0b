"""Predictions on posted sequences."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from unroll.contract.base import Request, Response
from unroll.contract.limits import MAX_LAYERS, MAX_LENGTH, MAX_PREDICT_SEQUENCES

Returnable = Literal["outputs", "state", "hidden"]
Step = Annotated[list[float], Field(fail_fast=True)]
"""x[t], of width I. Reading stops at the first item that is no number: millions of errors would help nobody."""
Sequence = Annotated[list[Step], Field(fail_fast=True)]
Replica = Annotated[int, Field(ge=0)] | Literal["best", "all"]


class LayerState(Request):
    """The state of one layer, each [H], or [R, H] where all replicas were asked for."""

    h: Step | Sequence
    """h; of a leaky cell that leaks potentials, the potential."""
    c: Step | Sequence | None = None
    """The cell state of an LSTM."""


class State(Request):
    """The hidden state of one sequence, layer by layer; what predict returned can be posted back."""

    layers: Annotated[list[LayerState], Field(min_length=1, max_length=MAX_LAYERS, fail_fast=True)]
    """The state of each layer, the lowest first."""


class PredictRequest(Request):
    """Sequences to run through a trained network. They may differ in length."""

    inputs: Annotated[list[Sequence], Field(min_length=1, max_length=MAX_PREDICT_SEQUENCES, fail_fast=True)]
    """inputs[sequence][t][i], of width I, or one token a step. Of one_to_one and one_to_many a single step."""
    steps: Annotated[int, Field(ge=1, le=MAX_LENGTH)] | None = None
    """How many outputs to write for each sequence: of one_to_many and encoder_decoder networks alone, which need it."""
    state: Annotated[list[State], Field(max_length=MAX_PREDICT_SEQUENCES, fail_fast=True)] | None = None
    """The state to start from, one a sequence; null: the network's h0. Not of an encoder_decoder."""
    returns: Annotated[list[Returnable], Field(alias="return", min_length=1, max_length=3, fail_fast=True)] = [
        "outputs"
    ]
    """Which of outputs, (final) state and hidden (trajectories) to answer."""
    replica: Replica = "best"
    """Which replica to run: an index, the best by held-out loss, or all of them."""


class PredictResponse(Response):
    """One entry a sequence; with replica `all`, one entry a replica below each sequence."""

    outputs: list[Any] | None = None
    """outputs[sequence][t][o], or outputs[sequence][replica][t][o]; without t where a network has one output."""
    state: list[State] | None = None
    """The state after each sequence's last step; of an encoder_decoder the decoder's."""
    hidden: list[Any] | None = None
    """hidden[sequence][t][h], or hidden[sequence][replica][t][h]; of the last layer."""
    model: str | None
    checkpoint: str
    replica: int | Literal["all"]
