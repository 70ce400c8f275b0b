"""What each cell is: its gates, states, tensors, time constants, memory, engines. Everything but its arithmetic.

One function a cell makes a `CellFacts` of the cell's configuration. Whoever has to know something about a cell asks
`facts(cell)` and never for the cell's type, so that a new cell is one more function here. Arithmetic stands in three
more tables by type: `rnn.cells.make` (training), `rnn.serving.cells` (NumPy) and `rnn.reference.equations`.

The API imports this file: NumPy only.
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
"""Which implementation runs a layer; auto: the native kernel, on a GPU cuDNN, where they have the cell; else the
workspace."""
Shape = tuple[int, ...]
Start = Callable[[Any], Any]
"""Makes the first values of a tensor of one replica (NumPy) of those drawn uniformly for it, which it may overwrite."""

_KINKED = frozenset({"relu", "leaky_relu", "saturated_relu"})
_UNBOUNDED = frozenset({"relu", "leaky_relu", "identity", "softplus"})


@dataclass(frozen=True, slots=True)
class TimeConstant:
    """A time constant of a cell: a state decays by dt/tau of itself at each step."""

    tau: float | list[float]
    """One for all units, or one for each; where it is learned, what it starts from."""
    dt: float
    """Time between two steps, in the unit of tau."""
    learned: Literal["no", "shared", "per_unit"] = "no"
    """A learned one is dt (1 + e^-theta) with theta trained, so that it stays above dt (`rnn.bptt.constraints`)."""

    def start(self, uniform: Any) -> Any:
        """Return the values that a learned time constant starts from, in the shape of its tensor."""
        tau = np.asarray(self.tau)
        uniform[...] = tau if len(uniform) > 1 else tau.mean()
        return uniform


class Trajectories(NamedTuple):
    """Numbers that a layer keeps in the workspace for each hidden unit, step and sequence: its buffers, counted."""

    training: int
    """To train one network."""
    training_stacked: int
    """To train several at once, for each of them."""
    evaluation: int
    evaluation_stacked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFacts:
    """What a cell is. Shapes are those of one replica, and of states those of one sequence; H is the hidden size."""

    hidden_size: int
    """H. What a layer gives to the layer above and to the readout, h[t], has this width whatever its states are."""
    states: Mapping[str, Shape]
    """The shape of each state that a layer keeps from step to step, by its name. These are the names in a layer's
    `initial`, `states` and `final`, in served states, and with a 0 behind them of trainable initial states (h0)."""
    output: str | None = "h"
    """The state that is what the layer gives, h[t]; None where h[t] is computed from the states and is none of them."""
    trajectories: Trajectories
    """What the layer keeps in memory."""

    gates: tuple[str, ...] = ("",)
    """The blocks of H rows in W_xh, W_hh and the biases, in order; one block without a name for cells without gates."""
    recurrent: bool = True
    """Whether there is a W_hh, so that a step knows the step before. Without it no state is ever read."""
    biases: Literal["none", "one_sum", "apart"] = "one_sum"
    """Whether b_x and b_h stand in one sum, or b_h beside the recurrent product alone; none: there are no biases."""
    own_tensors: Mapping[str, Shape] = field(default_factory=dict)
    """The shapes of trained tensors that only this cell has, by name."""
    starts: Mapping[str, Start] = field(default_factory=dict)
    """How tensors start that start otherwise than the network's initialisation says, by name."""
    time_constants: Mapping[str, TimeConstant] = field(default_factory=dict)
    """By the names of the cell's fields, which are those of their tensors where they are learned."""
    noise: Noise = field(default_factory=Noise)
    """The noise while training. Recurrent noise is for cells without gates: it is H wide."""

    activation: Activation = "tanh"
    """The nonlinearity f of the units; of cells with gates, that of their candidate."""
    kinked: bool = False
    """Whether f has kinks: a finite difference across one is not the derivative."""
    growth: str = ""
    """The kind of units, in a word, where states can grow at every step without a bound; empty where they cannot."""
    beside_W_hh: str = ""
    """What carries gradients from step to step besides W_hh and a leak, in words; empty where nothing does, which is
    what the penalty `omega` needs (`rnn.bptt.omega`): then the workspace's layer has a `transport`."""

    native: str | None = None
    """The native kernel's name for this cell (`rnn.kernels.abi.CELLS`); None where the kernel does not have it."""
    cudnn: Literal["RNN", "LSTM", "GRU"] | None = None
    """The module of torch.nn that is this cell, run by cuDNN on a GPU; None where there is none."""

    @property
    def leak(self) -> TimeConstant | None:
        """The time constant with which the state that pre-activations drive leaks: the first; None without a leak."""
        return next(iter(self.time_constants.values()), None)

    @property
    def learned(self) -> Mapping[str, TimeConstant]:
        """The time constants that are trained, by the names of their tensors."""
        return {name: constant for name, constant in self.time_constants.items() if constant.learned != "no"}

    def tensors(self, input_size: int) -> dict[str, Shape]:
        """Return the shapes of a layer's tensors, in the order of memory; without trainable initial states."""
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
    """Return what this cell is. Made anew at each call, in microseconds."""
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
    """Of potentials the state is the potential v, and h = f(v); it is called h too, where it travels."""
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
