"""Gradient checks: backpropagation through time by hand against autograd, complex steps and finite differences."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Name, Request, Response
from unroll.contract.limits import MAX_CHECK_BATCH, MAX_CHECK_ENTRIES, MAX_CHECK_REPLICAS, MAX_CHECK_STEPS
from unroll.contract.network import Network
from unroll.contract.training import BPTT, MSE, Loss


class CheckRequest(Request):
    """A network whose gradients are to be checked, on a random batch that the seed makes."""

    model: Name | Network
    """A registered model's name, or a network."""
    time_steps: Annotated[int, Field(ge=1, le=MAX_CHECK_STEPS)] = 8
    """T, time steps of the batch; 1 of a one_to_one network."""
    output_steps: Annotated[int, Field(ge=1, le=MAX_CHECK_STEPS)] | None = None
    """Steps that the decoder of an encoder_decoder writes; null: as many as the encoder reads."""
    teacher_forcing: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability with which that decoder reads the target of the step before instead of its own output."""
    variable_lengths: bool = False
    """Whether sequences differ in length, padded at the end and the padding left out of the loss."""
    batch_size: Annotated[int, Field(ge=1, le=MAX_CHECK_BATCH)] = 3
    """B, sequences in the batch."""
    replicas: Annotated[int, Field(ge=1, le=MAX_CHECK_REPLICAS)] = 1
    """R, networks that are checked at once, each with its own weights and batch."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Weights, batch and the choice of entries depend on it."""
    loss: Loss = MSE()
    """The loss that is differentiated."""
    bptt: BPTT = BPTT()
    """How gradients flow back through time; with a window, the reference holds each window's first state fixed."""
    entries: Annotated[int, Field(ge=1, le=MAX_CHECK_ENTRIES)] = 24
    """Entries of each parameter tensor, drawn at random, that are moved for finite differences and complex steps."""


class Distances(Response):
    """How far one tensor's gradient by hand is from each reference, as a fraction of the reference's norm."""

    name: str
    """The tensor, for example layers.0.W_hh."""
    shape: list[int]
    """Of one replica."""
    norm: float
    """The gradient's norm, by autograd in float64, of the replica where it is largest."""
    autograd: float
    """By hand in float64 to autograd over the equations."""
    float32: float
    """By hand in float32 to the same."""
    complex_step: float | None
    """By hand in float64 to complex steps through the equations, over the drawn entries."""
    finite_differences: float | None
    """By hand in float64 to central finite differences; null where each drawn entry lies near a kink."""
    entries: int
    """Entries that were moved, of one replica."""
    near_kinks: int
    """Entries of all replicas left out of the finite differences, as a unit has its kink within the step."""
    passed: bool
    """Whether every distance is within its tolerance."""


class EngineCheck(Response):
    """One implementation of backpropagation by hand."""

    engine: Literal["workspace", "native"]
    """The preallocated workspace in PyTorch's operations, or the native CPU kernel."""
    loss: list[float]
    """The loss of each replica, in float64."""
    tensors: list[Distances]
    """Parameter by parameter."""
    passed: bool
    """Whether all of them passed, and the loss is that of the equations."""


class Tolerances(Response):
    """The largest distances that pass."""

    autograd: float = 1e-9
    """For float64 by hand to autograd."""
    float32: float = 2e-5
    """For float32 by hand to autograd."""
    complex_step: float = 1e-9
    """For float64 by hand to complex steps."""
    finite_differences: float = 1e-6
    """For float64 by hand to finite differences."""
    floor: float = 1e-2
    """Where a tensor's gradient is smaller than this fraction of the whole one, distances are relative to that.

    Where that too is less than the loss's terms may be rounded to, they are relative to what rounding may come to.
    """


class BiasCheck(Response):
    """Whether the two biases of a layer have one gradient, so that only their sum can be found from data."""

    layer: str
    """The layer, for example layers.0."""
    distance: float
    """The norm of dL/db_x - dL/db_h as a fraction of that of dL/db_x, by autograd."""
    distance_by_gate: dict[str, float]
    """The same for each gate; of a GRU all but the candidate n are zero."""
    identifiable: bool
    """Whether the two can be told apart."""


class Formula(Response):
    """One equation of the network or its gradient."""

    name: str
    """What it gives."""
    formula: str
    """The equation."""
    note: str = ""
    """What it means, where that is not plain."""


class Check(Response):
    """What a gradient check found."""

    passed: bool
    """Whether every engine passed."""
    parameters: int
    """Of one replica."""
    loss: list[float]
    """The loss of each replica by the equations, in float64."""
    engines: list[EngineCheck]
    """The engines that have this network: the workspace always, the native kernel where it is there."""
    tolerances: Tolerances
    """What was allowed."""
    lag_profile: list[list[float]]
    """The norm of dL/dh[t] over batch and units, of the last layer: one list a replica, one number a time step; of an
    encoder_decoder the encoder's steps and then the decoder's."""
    biases: list[BiasCheck]
    """Of each layer that has b_x and b_h."""
    formulas: list[Formula]
    """The forward pass of this cell, and the gradients of all its parameters, written out."""
    notes: list[str]
    """What to know when reading this answer."""
    config: CheckRequest
    """What was checked, in full."""


class SchemaKinds(Response):
    """The kinds of request that have a JSON Schema."""

    kinds: dict[str, str]
    """What each kind describes; GET /v1/schema/{kind} has its schema."""
