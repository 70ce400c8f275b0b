"""Facts about each cell: its gates, states, tensors, time constants, memory and engines. Its arithmetic is elsewhere.

For each cell one function makes `CellFacts` from the cell's configuration. Code that needs to know something about a
cell calls `facts(cell)` and never asks for the cell's type, so a new cell needs one more function here. The arithmetic
is in three more tables by type: `rnn.cells.make` (training), `rnn.serving.cells` (NumPy) and `rnn.reference.equations`.

The API imports this file, so it uses NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from unroll.contract import (
    Activation,
    Cell,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Noise,
    VanillaCell,
)

LayerEngine = Literal["auto", "workspace", "native", "cudnn"]
"""The implementation that runs a layer. `auto` chooses the native kernel, or cuDNN on a GPU, if it supports the cell,
and the workspace otherwise."""
Shape = tuple[int, ...]
Start = Callable[[Any], Any]
"""Makes the initial values of a tensor of one replica (NumPy) from values drawn uniformly, which it may overwrite."""

_KINKED = frozenset({"relu", "leaky_relu", "saturated_relu"})
_UNBOUNDED = frozenset({"relu", "leaky_relu", "identity", "softplus"})


@dataclass(frozen=True, slots=True)
class TimeConstant:
    """A time constant of a cell: at each step a state decays by the fraction dt/tau."""

    tau: float | list[float]
    """One value for all units, or one for each unit. If tau is learned, this is its initial value."""
    dt: float
    """Time between two steps, in the unit of tau."""
    learned: Literal["no", "shared", "per_unit"] = "no"
    """A learned tau is dt (1 + e^-theta), where theta is trained, so that tau stays above dt
    (`rnn.bptt.constraints`)."""

    def start(self, uniform: Any) -> Any:
        """Return the initial values of a learned time constant, in the shape of its tensor."""
        tau = np.asarray(self.tau)
        uniform[...] = tau if len(uniform) > 1 else tau.mean()
        return uniform


class Trajectories(NamedTuple):
    """Counts the numbers that a workspace layer keeps for each hidden unit, step and sequence."""

    training: int
    """The count when one network is trained."""
    training_stacked: int
    """The count for each network when several are trained at once."""
    evaluation: int
    evaluation_stacked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFacts:
    """What is known about a cell. Shapes are for one replica; shapes of states are for one sequence.

    H is the hidden size.
    """

    hidden_size: int
    """H, the width of a layer's output h[t], whatever states the cell has. The layer above and the readout read
    h[t]."""
    states: Mapping[str, Shape]
    """The shape of each state that a layer keeps from step to step, by its name. The names are the keys of a layer's
    `initial`, `states` and `final` and of served states. Trainable initial states add a 0 to them (h0)."""
    output: str | None = "h"
    """The state that is the layer's output h[t]; None if h[t] is computed from the states but is not one of them."""
    trajectories: Trajectories
    """The numbers that the layer keeps in memory."""

    gates: tuple[str, ...] = ("",)
    """The blocks of H rows in W_xh, W_hh and the biases, in order. A cell without gates has one block without a
    name."""
    recurrent: bool = True
    """Whether the cell has W_hh, so that a step depends on the step before. Without W_hh no state is ever read."""
    biases: Literal["none", "one_sum", "apart"] = "one_sum"
    """Whether b_x and b_h are added in one sum, or b_h is added to the recurrent product alone; none: there are no
    biases."""
    own_tensors: Mapping[str, Shape] = field(default_factory=dict)
    """The shapes of trained tensors that only this cell has, by name."""
    starts: Mapping[str, Start] = field(default_factory=dict)
    """Functions for tensors whose initial values do not follow the network's initialisation, by the tensors' names."""
    time_constants: Mapping[str, TimeConstant] = field(default_factory=dict)
    """The time constants, by the names of the cell's fields. A learned one has a tensor of the same name."""
    noise: Noise = field(default_factory=Noise)
    """The noise while training. Only cells without gates have recurrent noise, whose width is H."""

    activation: Activation = "tanh"
    """The nonlinearity f of the units; for a cell with gates, that of its candidate."""
    kinked: bool = False
    """Whether f has kinks. A finite difference across a kink is not the derivative."""
    growth: str = ""
    """A word for the kind of units if states can grow at every step without a bound; empty if they cannot."""
    beside_W_hh: str = ""
    """What carries gradients from step to step besides W_hh and a leak, in words. It is empty if nothing does, as the
    penalty `omega` requires (`rnn.bptt.omega`); the workspace's layer then has a `transport`."""

    native: str | None = None
    """The native kernel's name for this cell (`rnn.kernels.abi.CELLS`); None if the kernel does not support it."""
    cudnn: Literal["RNN", "LSTM", "GRU"] | None = None
    """The module of torch.nn that computes this cell and runs on cuDNN on a GPU; None if there is none."""

    @property
    def leak(self) -> TimeConstant | None:
        """The first time constant: the leak of the state that pre-activations drive. None if the cell has no leak."""
        return next(iter(self.time_constants.values()), None)

    @property
    def learned(self) -> Mapping[str, TimeConstant]:
        """The time constants that are trained, by the names of their tensors."""
        return {name: constant for name, constant in self.time_constants.items() if constant.learned != "no"}

    def tensors(self, input_size: int) -> dict[str, Shape]:
        """Return the shapes of a layer's tensors, in the order of memory, without trainable initial states."""
        A, H = len(self.gates) * self.hidden_size, self.hidden_size
        shapes: dict[str, Shape] = {"W_xh": (A, input_size)}
        if self.biases != "none":
            shapes["b_x"] = (A,)
        if self.recurrent:
            shapes["W_hh"] = (A, H)
            if self.biases != "none":
                shapes["b_h"] = (A,)
        return shapes | dict(self.own_tensors)


def facts(cell: Cell) -> CellFacts:
    """Return the facts about this cell. They are made anew at each call, which takes microseconds."""
    return _FACTS[cell.type](cell)


def _vanilla(cell: VanillaCell) -> CellFacts:
    H, f = cell.hidden_size, cell.activation
    return CellFacts(
        hidden_size=H,
        states={"h": (H,)},
        trajectories=Trajectories(3, 4, 1, 3),
        activation=f,
        kinked=f in _KINKED,
        growth=f if f in _UNBOUNDED else "",
        native="vanilla",
        cudnn="RNN" if f in ("tanh", "relu") else None,
    )


def _linear(cell: LinearCell) -> CellFacts:
    H = cell.hidden_size
    return CellFacts(
        hidden_size=H,
        states={"h": (H,)},
        trajectories=Trajectories(3, 4, 1, 3),
        biases="none",
        activation="identity",
        growth="linear",
        native="vanilla",
    )


def _feedforward(cell: FeedForwardCell) -> CellFacts:
    H, f = cell.hidden_size, cell.activation
    return CellFacts(
        hidden_size=H,
        states={"h": (H,)},
        trajectories=Trajectories(3, 4, 1, 3),
        recurrent=False,
        activation=f,
        kinked=f in _KINKED,
    )


def _leaky(cell: LeakyCell) -> CellFacts:
    """Return the facts about a leaky cell.

    If potentials leak, the state is the potential v, but it is named h in files and messages.
    """
    H, f, rates = cell.hidden_size, cell.activation, cell.leak == "rates"
    tau = TimeConstant(cell.tau, cell.dt, cell.learn_tau)
    learns = cell.learn_tau != "no"
    return CellFacts(
        hidden_size=H,
        states={"h": (H,)},
        output="h" if rates else None,
        trajectories=Trajectories(5, 9, 3, 5),
        own_tensors={"tau": (H if cell.learn_tau == "per_unit" else 1,)} if learns else {},
        starts={"tau": tau.start} if learns else {},
        time_constants={"tau": tau},
        noise=cell.noise,
        activation=f,
        kinked=f in _KINKED,
        growth=f if f in _UNBOUNDED else "",
        native=f"leaky {cell.leak}",
    )


def _lstm(cell: LSTMCell) -> CellFacts:
    H = cell.hidden_size

    def open_forget_gate(uniform: Any) -> Any:
        uniform[H : 2 * H] += cell.forget_bias
        return uniform

    return CellFacts(
        hidden_size=H,
        states={"h": (H,), "c": (H,)},
        trajectories=Trajectories(13, 23, 7, 12),
        gates=("i", "f", "g", "o"),
        starts={"b_h": open_forget_gate},
        beside_W_hh="its gates",
        native="lstm",
        cudnn="LSTM",
    )


def _gru(cell: GRUCell) -> CellFacts:
    H = cell.hidden_size
    return CellFacts(
        hidden_size=H,
        states={"h": (H,)},
        trajectories=Trajectories(13, 22, 7, 11),
        gates=("r", "z", "n"),
        biases="apart",
        beside_W_hh="its gates",
        native="gru",
        cudnn="GRU",
    )


_FACTS: dict[str, Callable[[Any], CellFacts]] = {
    "vanilla": _vanilla,
    "leaky": _leaky,
    "linear": _linear,
    "feedforward": _feedforward,
    "lstm": _lstm,
    "gru": _gru,
}
