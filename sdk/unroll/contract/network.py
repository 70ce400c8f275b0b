"""A recurrent network, as data: its cell, sizes, architecture and the constraints on W_hh.

The course's equations, for one replica (source: the course notes, week 7):

    h[t] = f(W_xh x[t] + b_x + W_hh h[t-1] + b_h),   y[t] = W_hy h[t] + b_y
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request
from unroll.contract.cells import Cell
from unroll.contract.connectivity import Connectivity, Initialisation, Uniform
from unroll.contract.limits import MAX_WIDTH

Architecture = Literal["many_to_many", "many_to_one"]


class Network(Request):
    """The configuration of one recurrent network."""

    cell: Cell
    input_size: Annotated[int, Field(ge=1, le=MAX_WIDTH)]
    """I, the width of x[t]."""
    output_size: Annotated[int, Field(ge=1, le=MAX_WIDTH)]
    """O, the width of y[t]."""
    architecture: Architecture = "many_to_many"
    """Which steps have inputs and outputs; many_to_many: every step has both; many_to_one: one output, at the end."""
    num_layers: Annotated[int, Field(ge=1, le=16)] = 1
    """Stacked recurrent layers, each of hidden_size; a layer's input is the h[t] of the layer below."""
    h0: Literal["zeros", "trainable"] = "zeros"
    """The state before the first step: zeros, or learned (c of an LSTM too)."""
    connectivity: Connectivity = Connectivity()
    """Constraints on the recurrent weights."""
    initialisation: Initialisation = Uniform()
    """How W_hh starts."""
