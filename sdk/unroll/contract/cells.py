"""Configurations of recurrent cells. Equations are given for one replica; their sources are in `rnn/cells`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request, Shorthand
from unroll.contract.limits import MAX_HIDDEN_SIZE

Activation = Literal["tanh", "relu", "leaky_relu", "softplus", "sigmoid", "identity", "saturated_relu"]
HiddenSize = Annotated[int, Field(ge=1, le=MAX_HIDDEN_SIZE, examples=[64])]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Deviation = Annotated[float, Field(ge=0, le=1e6)]


class VanillaCell(Request):
    """h[t] = f(W_xh x[t] + b_x + W_hh h[t-1] + b_h), Elman's simple recurrent network (1990)."""

    type: Literal["vanilla"] = "vanilla"
    hidden_size: HiddenSize
    """Number of hidden units, H."""
    activation: Activation = "tanh"
    """The nonlinearity f. leaky_relu has slope 0.01 below 0; saturated_relu is min(max(a, 0), 1)."""


class Noise(Request):
    """Gaussian noise during training, drawn anew for each seed, replica and step. Evaluations have no noise."""

    input: Deviation = 0.0
    """Standard deviation of the noise that is added to each input."""
    recurrent: Annotated[Deviation, Field(examples=[0.1])] = 0.0
    """Strength sigma of the recurrent noise: sigma sqrt(2 tau / dt) times a standard normal is added to each
    pre-activation. tau is the configured one, and the factor makes the noise of the state independent of dt."""
    output: Deviation = 0.0
    """Standard deviation of the noise that is added to each output."""


class LeakyCell(Request):
    """A rate network in continuous time, integrated by Euler steps with alpha = dt/tau.

    rates: h[t] = (1-alpha) h[t-1] + alpha f(a[t]);
    potentials: v[t] = (1-alpha) v[t-1] + alpha a[t], h[t] = f(v[t]);
    with a[t] = W_xh x[t] + b_x + W_hh h[t-1] + b_h.
    """

    type: Literal["leaky"] = "leaky"
    hidden_size: HiddenSize
    """Number of hidden units, H."""
    activation: Activation = "tanh"
    """The nonlinearity f. leaky_relu has slope 0.01 below 0; saturated_relu is min(max(a, 0), 1)."""
    leak: Literal["rates", "potentials"] = "rates"
    """Which quantity leaks and is kept as the state: rates (after the nonlinearity) or potentials (before it)."""
    dt: Positive = 1.0
    """Duration of one step, in the unit of tau."""
    tau: Positive | Annotated[list[Positive], Field(min_length=1, max_length=MAX_HIDDEN_SIZE, fail_fast=True)] = 5.0
    """Time constant: one number for all units, or one for each unit; at least dt. If tau is learned, its initial
    value."""
    learn_tau: Literal["no", "shared", "per_unit"] = "no"
    """Whether tau is learned: not, one for all units, or one for each unit. A learned tau starts at 1.001 dt or more
    and stays above dt."""
    noise: Noise = Noise()
    """Noise during training."""


class LinearCell(Request):
    """h[t] = W_xh x[t] + W_hh h[t-1], the minimal recurrent network: it has no nonlinearity and no biases."""

    type: Literal["linear"] = "linear"
    hidden_size: HiddenSize
    """Number of hidden units, H."""


class FeedForwardCell(Request):
    """h[t] = f(W_xh x[t] + b_x), a network without recurrence: a baseline that has no memory."""

    type: Literal["feedforward"] = "feedforward"
    hidden_size: HiddenSize
    """Number of hidden units, H."""
    activation: Activation = "tanh"
    """The nonlinearity f. leaky_relu has slope 0.01 below 0; saturated_relu is min(max(a, 0), 1)."""


class LSTMCell(Request):
    """Long short-term memory as in PyTorch: c[t] = f c[t-1] + i g, h[t] = o tanh(c[t]); gate order i f g o."""

    type: Literal["lstm"] = "lstm"
    hidden_size: HiddenSize
    """Number of hidden units, H."""
    forget_bias: Annotated[float, Field(ge=-100, le=100)] = 0.0
    """Number that is added to the initial bias of the forget gate; 1 lets gradients survive at the start (Jozefowicz
    et al. 2015)."""


class GRUCell(Request):
    """Gated recurrent unit as in PyTorch: the reset gate r multiplies the recurrent product.

    n = tanh(W_xn x + b_xn + r (W_hn h + b_hn)), h[t] = (1-z) n + z h[t-1]; gate order r z n.
    """

    type: Literal["gru"] = "gru"
    hidden_size: HiddenSize
    """Number of hidden units, H."""


Cell = Annotated[
    VanillaCell | LeakyCell | LinearCell | FeedForwardCell | LSTMCell | GRUCell,
    Field(discriminator="type"),
    Shorthand("vanilla"),
]
"""Any cell. Without a `type` it is a vanilla cell."""
