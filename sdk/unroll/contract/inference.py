"""Predictions on sequences that a user sends."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from unroll.contract.base import Request, Response
from unroll.contract.limits import MAX_LAYERS, MAX_LENGTH, MAX_PREDICT_SEQUENCES

Returnable = Literal["outputs", "state", "hidden"]
Step = Annotated[list[float], Field(fail_fast=True)]
"""x[t], of width I. Validation stops at the first item that is not a number, because millions of errors help nobody."""
Sequence = Annotated[list[Step], Field(fail_fast=True)]
Reduction = Literal["mean", "quantiles"]
Replica = Annotated[int, Field(ge=0)] | Literal["best", "all"]


class LayerState(Request):
    """State of one layer: each tensor is [H], or [R, H] if all replicas were requested."""

    h: Step | Sequence
    """The hidden state h; for a leaky cell with leak `potentials`, the potential v."""
    c: Step | Sequence | None = None
    """The cell state c of an LSTM."""


class State(Request):
    """Hidden state of one sequence, layer by layer. A state that predict returned can be sent back."""

    layers: Annotated[list[LayerState], Field(min_length=1, max_length=MAX_LAYERS, fail_fast=True)]
    """State of each layer, the lowest layer first."""


class PredictOptions(Request):
    """How sequences are run, and what is returned. In safetensors these are texts in `__metadata__`."""

    steps: Annotated[int, Field(ge=1, le=MAX_LENGTH)] | None = None
    """Number of outputs to write for each sequence. Required for one_to_many and encoder_decoder networks, refused for
    others."""
    returns: Annotated[list[Returnable], Field(alias="return", min_length=1, max_length=3, fail_fast=True)] = [
        "outputs"
    ]
    """What to return: outputs, state (the final one) and hidden (all hidden states over time)."""
    replica: Replica = "best"
    """Which replica to run: an index, the best by held-out loss, or all of them."""
    reduce: Reduction | None = None
    """What all replicas say together, instead of what each of them says: their mean, or their median, with an interval.
    Only for outputs, and with replica `all`."""


class PredictRequest(PredictOptions):
    """Sequences to run through a trained network. They may have different lengths."""

    inputs: Annotated[
        list[Sequence],
        Field(min_length=1, max_length=MAX_PREDICT_SEQUENCES, fail_fast=True, examples=[[[[0.5], [-1.0]]]]),
    ]
    """inputs[sequence][t][i], of width I, or one token for each step; for one_to_one and one_to_many only one step."""
    state: Annotated[list[State], Field(max_length=MAX_PREDICT_SEQUENCES, fail_fast=True)] | None = None
    """Initial state of each sequence. null: the network's h0. Not available for an encoder_decoder."""


class Interval(Response):
    """How far replicas differ, in the form of the outputs. Numbers are null where there is only one replica."""

    lower: list[Any]
    upper: list[Any]
    level: float | None
    """The share of replicas between the two quantiles; null: the mean, less and plus one sample standard deviation."""


class PredictResponse(Response):
    """One entry for each sequence; with replica `all`, each sequence has one entry for each replica."""

    outputs: list[Any] | None = None
    """outputs[sequence][t][o], or outputs[sequence][replica][t][o]; without t if the network has only one output. With
    `reduce` the mean or the median of the replicas, null where one of them overflowed."""
    interval: Interval | None = None
    """With `reduce`, around the outputs."""
    state: list[State] | None = None
    """State after the last step of each sequence; for an encoder_decoder, that of the decoder."""
    hidden: list[Any] | None = None
    """hidden[sequence][t][h], or hidden[sequence][replica][t][h], of the last layer."""
    model: str | None
    checkpoint: str
    replica: int | Literal["all"]
