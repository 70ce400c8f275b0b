"""A recurrent network, as data: its cell, sizes, architecture and the constraints on W_hh.

The course's equations, for one replica (source: the course notes, week 7):

    h[t] = f(W_xh x[t] + b_x + W_hh h[t-1] + b_h),   y[t] = W_hy h[t] + b_y
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request
from unroll.contract.limits import MAX_HIDDEN_SIZE, MAX_WIDTH

Activation = Literal["tanh", "relu", "leaky_relu", "softplus", "sigmoid", "identity", "saturated_relu"]


class VanillaCell(Request):
    """h[t] = f(W_xh x[t] + b_x + W_hh h[t-1] + b_h), Elman's simple recurrent network (1990)."""

    type: Literal["vanilla"] = "vanilla"
    hidden_size: Annotated[int, Field(ge=1, le=MAX_HIDDEN_SIZE)]
    """H, the number of hidden units."""
    activation: Activation = "tanh"
    """The nonlinearity f."""


Cell = VanillaCell


class Connectivity(Request):
    """Constraints on W_hh. This version has the unconstrained network; other values are refused."""

    dale: None = None
    """Dale's law; null: units may both excite and inhibit."""
    density: Annotated[float, Field(ge=1.0, le=1.0, strict=False)] = 1.0
    """Fraction of the entries of W_hh that may be non-zero."""
    symmetry: Literal["none"] = "none"
    """Symmetry of W_hh."""
    autapses: Literal[True] = True
    """Whether units may connect to themselves (the diagonal of W_hh)."""


class Network(Request):
    """The configuration of one recurrent network."""

    cell: Cell
    input_size: Annotated[int, Field(ge=1, le=MAX_WIDTH)]
    """I, the width of x[t]."""
    output_size: Annotated[int, Field(ge=1, le=MAX_WIDTH)]
    """O, the width of y[t]."""
    architecture: Literal["many_to_many", "many_to_one"] = "many_to_many"
    """Which steps have inputs and outputs; many_to_many: every step has both; many_to_one: one output, at the end."""
    num_layers: Annotated[int, Field(ge=1, le=1)] = 1
    """Stacked recurrent layers."""
    h0: Literal["zeros"] = "zeros"
    """The hidden state before the first step."""
    connectivity: Connectivity = Connectivity()
    """Constraints on the recurrent weights."""
