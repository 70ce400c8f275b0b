"""Gradient checks: hand-written backpropagation through time against autograd, complex steps and finite differences."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Name, Request, Response
from unroll.contract.limits import MAX_CHECK_BATCH, MAX_CHECK_ENTRIES, MAX_CHECK_REPLICAS, MAX_CHECK_STEPS
from unroll.contract.network import Network
from unroll.contract.shown import Shown, table_html
from unroll.contract.training import BPTT, MSE, Loss


class CheckRequest(Request):
    """A request to check the gradients of a network on a random batch."""

    model: Name | Network
    """A registered model's name, or a network."""
    time_steps: Annotated[int, Field(ge=1, le=MAX_CHECK_STEPS)] = 8
    """Number of time steps in the batch, T; 1 for a one_to_one network."""
    output_steps: Annotated[int, Field(ge=1, le=MAX_CHECK_STEPS)] | None = None
    """Number of steps that the decoder of an encoder_decoder writes. null: as many as the encoder reads."""
    teacher_forcing: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability that the decoder of an encoder_decoder reads the previous target instead of its own previous
    output."""
    variable_lengths: bool = False
    """Whether sequences have different lengths. They are padded at the end, and the loss leaves the padding out."""
    batch_size: Annotated[int, Field(ge=1, le=MAX_CHECK_BATCH)] = 3
    """Number of sequences in the batch, B."""
    replicas: Annotated[int, Field(ge=1, le=MAX_CHECK_REPLICAS)] = 1
    """Number of networks that are checked at once, R; each has its own weights and its own batch."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the weights, of the batch and of the choice of entries."""
    loss: Loss = MSE()
    """The loss that is differentiated. A bare name is short for an object: "mse" for {"type": "mse"}."""
    bptt: BPTT = BPTT()
    """How gradients flow back through time. With a window, the reference holds the first state of each window fixed."""
    entries: Annotated[int, Field(ge=1, le=MAX_CHECK_ENTRIES)] = 24
    """Number of entries of each parameter tensor, drawn at random, that finite differences and complex steps test."""


class Distances(Response):
    """How far the hand-written gradient of one tensor is from each reference, as a fraction of the reference's norm."""

    name: str
    """Name of the tensor, for example layers.0.W_hh."""
    shape: list[int]
    """Shape of the tensor in one replica."""
    norm: float
    """Norm of the gradient by autograd in float64, for the replica where it is largest."""
    autograd: float
    """Distance of the float64 gradient from autograd over the equations."""
    float32: float
    """Distance of the float32 gradient from autograd over the equations."""
    complex_step: float | None
    """Distance of the float64 gradient from complex steps through the equations, over the drawn entries."""
    finite_differences: float | None
    """Distance of the float64 gradient from central finite differences; null if every drawn entry lies near a kink."""
    entries: int
    """Number of tested entries in one replica."""
    near_kinks: int
    """Number of entries, over all replicas, left out of the finite differences because a unit passes its kink within
    the step."""
    passed: bool
    """Whether every distance is within its tolerance."""


class EngineCheck(Response):
    """The result for one implementation of hand-written backpropagation."""

    engine: Literal["workspace", "native"]
    """workspace: PyTorch operations on preallocated memory; native: the compiled CPU kernel."""
    loss: list[float]
    """Loss of each replica, in float64."""
    tensors: list[Distances]
    """Result for each parameter tensor."""
    passed: bool
    """Whether every tensor passed and the loss agrees with that of the equations."""


class Tolerances(Response):
    """The largest distances that pass."""

    autograd: float = 1e-9
    """Largest distance of the float64 gradient from autograd."""
    float32: float = 2e-5
    """Largest distance of the float32 gradient from autograd."""
    complex_step: float = 1e-9
    """Largest distance of the float64 gradient from complex steps."""
    finite_differences: float = 1e-6
    """Largest distance of the float64 gradient from finite differences."""
    floor: float = 1e-2
    """If a tensor's gradient is smaller than this fraction of the whole gradient, its distances are relative to that
    fraction.

    If that is also smaller than the possible rounding error of the loss's terms, they are relative to that error.
    """


class BiasCheck(Response):
    """Whether the two biases of a layer have the same gradient, so that data determine only their sum."""

    layer: str
    """Name of the layer, for example layers.0."""
    distance: float
    """Norm of dL/db_x - dL/db_h as a fraction of the norm of dL/db_x, by autograd."""
    distance_by_gate: dict[str, float]
    """The same fraction for each gate. For a GRU it is zero for every gate except the candidate n."""
    identifiable: bool
    """Whether data can tell the two biases apart."""


class Formula(Response):
    """One equation of the network or of its gradient."""

    name: str
    """What the equation computes."""
    formula: str
    """The equation."""
    note: str = ""
    """An explanation, if the equation needs one."""


class Check(Shown, Response):
    """The result of a gradient check."""

    passed: bool
    """Whether every engine passed."""
    parameters: int
    """Number of parameters of one replica."""
    loss: list[float]
    """Loss of each replica by the equations, in float64."""
    engines: list[EngineCheck]
    """Result of each engine that supports this network: always the workspace, and the native kernel if it is
    installed."""
    tolerances: Tolerances
    """The tolerances that were applied."""
    lag_profile: list[list[float]]
    """Norm of dL/dh[t] over batch and units in the last layer: one list for each replica, one number for each time
    step. For an encoder_decoder the encoder's steps come first, then the decoder's."""
    biases: list[BiasCheck]
    """Comparison of the two biases, for each layer that has b_x and b_h."""
    formulas: list[Formula]
    """The forward pass of this cell and the gradients of all its parameters, as equations."""
    notes: list[str]
    """Remarks that help to read this result."""
    config: CheckRequest
    """The complete configuration that was checked."""

    def line(self) -> str:
        """Return the verdict in one line."""
        worst = max((one.autograd for engine in self.engines for one in engine.tensors), default=0.0)
        verdict = "passed" if self.passed else "FAILED"
        engines = ", ".join(engine.engine for engine in self.engines)
        furthest = f"at most {worst:.1e} from autograd, {self.tolerances.autograd:.0e} allowed"
        return f"gradient check {verdict}: {self.parameters} parameters, {furthest} ({engines})"

    def table(self) -> dict[str, object]:
        """Return the verdict of each engine."""
        return {
            "passed": self.passed,
            "parameters": self.parameters,
            **{engine.engine: "passed" if engine.passed else "FAILED" for engine in self.engines},
        }

    def _repr_html_(self) -> str:
        distances = ("autograd", "float32", "complex_step", "finite_differences")
        header = ("engine", "tensor", *(name.replace("_", " ") for name in distances), "passed")
        rows = [
            (
                engine.engine,
                one.name,
                *(_distance(getattr(one, name)) for name in distances),
                "yes" if one.passed else "NO",
            )
            for engine in self.engines
            for one in engine.tensors
        ]
        allowed = ("", "allowed", *(_distance(getattr(self.tolerances, name)) for name in distances), "")
        return table_html(header, [*rows, allowed], self.line())


def _distance(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


class SchemaKinds(Response):
    """The kinds of request that have a JSON Schema."""

    kinds: dict[str, str]
    """Description of each kind; GET /v1/schema/{kind} answers its schema."""
