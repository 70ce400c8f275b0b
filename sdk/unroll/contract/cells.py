"""Recurrent cells, as data. Equations for one replica; sources in `rnn/cells`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request, default_type
from unroll.contract.limits import MAX_HIDDEN_SIZE

Activation = Literal["tanh", "relu", "leaky_relu", "softplus", "sigmoid", "identity", "saturated_relu"]
HiddenSize = Annotated[int, Field(ge=1, le=MAX_HIDDEN_SIZE)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Deviation = Annotated[float, Field(ge=0, le=1e6)]


class VanillaCell(Request):
    """h[t] = f(W_xh x[t] + b_x + W_hh h[t-1] + b_h), Elman's simple recurrent network (1990)."""

    type: Literal["vanilla"] = "vanilla"
    hidden_size: HiddenSize
    """H, the number of hidden units."""
    activation: Activation = "tanh"
    """The nonlinearity f; the slope of leaky_relu below 0 is 0.01, saturated_relu is min(max(a, 0), 1)."""


class Noise(Request):
    """Gaussian noise while training, drawn anew for each seed, replica and step; evaluations have none."""

    input: Deviation = 0.0
    """Standard deviation of what is added to each input."""
    recurrent: Deviation = 0.0
    """sigma; sigma sqrt(2 tau / dt) times a standard normal is added to each pre-activation, with the configured tau,
    so that the state's noise does not depend on dt."""
    output: Deviation = 0.0
    """Standard deviation of what is added to each output."""


class LeakyCell(Request):
    """A rate network in continuous time, by Euler steps with alpha = dt/tau.

    rates: h[t] = (1-alpha) h[t-1] + alpha f(a[t]);
    potentials: v[t] = (1-alpha) v[t-1] + alpha a[t], h[t] = f(v[t]);
    with a[t] = W_xh x[t] + b_x + W_hh h[t-1] + b_h.
    """

    type: Literal["leaky"] = "leaky"
    hidden_size: HiddenSize
    """H, the number of hidden units."""
    activation: Activation = "tanh"
    """The nonlinearity f; the slope of leaky_relu below 0 is 0.01, saturated_relu is min(max(a, 0), 1)."""
    leak: Literal["rates", "potentials"] = "rates"
    """What leaks: the rate, after the nonlinearity, or the potential, before it. It is also what the state holds."""
    dt: Positive = 1.0
    """Time between two steps, in the unit of tau."""
    tau: Positive | Annotated[list[Positive], Field(min_length=1, max_length=MAX_HIDDEN_SIZE)] = 5.0
    """Time constant, of all units or of each; at least dt. Where it is learned, what it starts from."""
    learn_tau: Literal["no", "shared", "per_unit"] = "no"
    """Whether tau is learned, one for all units or one for each; it starts at 1.001 dt or more and stays above dt."""
    noise: Noise = Noise()
    """Noise while training."""


class LinearCell(Request):
    """h[t] = W_xh x[t] + W_hh h[t-1], the minimal recurrent network: no nonlinearity, no biases."""

    type: Literal["linear"] = "linear"
    hidden_size: HiddenSize
    """H, the number of hidden units."""


class FeedForwardCell(Request):
    """h[t] = f(W_xh x[t] + b_x), a network without recurrence: the baseline that remembers nothing."""

    type: Literal["feedforward"] = "feedforward"
    hidden_size: HiddenSize
    """H, the number of hidden units."""
    activation: Activation = "tanh"
    """The nonlinearity f; the slope of leaky_relu below 0 is 0.01, saturated_relu is min(max(a, 0), 1)."""


class LSTMCell(Request):
    """Long short-term memory in PyTorch's variant: c[t] = f c[t-1] + i g, h[t] = o tanh(c[t]); gate order i f g o."""

    type: Literal["lstm"] = "lstm"
    hidden_size: HiddenSize
    """H, the number of hidden units."""
    forget_bias: Annotated[float, Field(ge=-100, le=100)] = 0.0
    """Added to the initial bias of the forget gate; 1 keeps gradients alive at the start (Jozefowicz et al. 2015)."""


class GRUCell(Request):
    """Gated recurrent unit in PyTorch's variant: the reset gate r acts after the recurrent product.

    n = tanh(W_xn x + b_xn + r (W_hn h + b_hn)), h[t] = (1-z) n + z h[t-1]; gate order r z n.
    """

    type: Literal["gru"] = "gru"
    hidden_size: HiddenSize
    """H, the number of hidden units."""


Cell = Annotated[
    VanillaCell | LeakyCell | LinearCell | FeedForwardCell | LSTMCell | GRUCell,
    Field(discriminator="type"),
    default_type("vanilla"),
]
