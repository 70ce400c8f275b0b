"""A recurrent network, as data: its cell, sizes, architecture and the constraints on W_hh.

The course's equations, for one replica (source: the course notes, week 7):

    h[t] = f(W_xh x[t] + b_x + W_hh h[t-1] + b_h),   y[t] = W_hy h[t] + b_y

Architectures, by the steps that have inputs and outputs:

    one_to_one        one step with both: no recurrence is used
    one_to_many       an input at the first step, zeros after it; outputs at every step
    many_to_one       inputs at every step, one output at a sequence's last
    many_to_many      both at every step
    encoder_decoder   an encoder reads the inputs; from its last state (h, and c of an LSTM) a decoder of the same cell,
                      with weights of its own, writes as many outputs as are wanted, reading its own last output
                      (Sutskever, Vinyals & Le 2014)
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request
from unroll.contract.cells import Cell
from unroll.contract.connectivity import Connectivity, Initialisation, Uniform
from unroll.contract.limits import MAX_WIDTH

Architecture = Literal["one_to_one", "one_to_many", "many_to_one", "many_to_many", "encoder_decoder"]
Feedback = Literal["identity", "softmax", "sigmoid", "exp"]
FEEDBACK: dict[str, Feedback] = {"mse": "identity", "cross_entropy": "softmax", "bce": "sigmoid", "poisson": "exp"}
"""What puts an output in the units of the targets of each loss."""


class Network(Request):
    """The configuration of one recurrent network."""

    cell: Cell
    """What one layer does in one time step."""
    input_size: Annotated[int, Field(ge=1, le=MAX_WIDTH)]
    """I, the width of x[t]; with a vocabulary the width of the embedding."""
    output_size: Annotated[int, Field(ge=1, le=MAX_WIDTH)]
    """O, the width of y[t]."""
    architecture: Architecture = "many_to_many"
    """Which steps have inputs and outputs."""
    vocabulary_size: Annotated[int, Field(ge=1, le=MAX_WIDTH)] | None = None
    """V: inputs are tokens 0 to V-1, one number a step, and x[t] is the token's row of a learned table [V, I].
    null: inputs are vectors."""
    feedback: Feedback = "identity"
    """What the decoder of an encoder_decoder reads of its last output y, in the units of the targets: identity (mse),
    softmax (cross_entropy), sigmoid (bce), exp (poisson). Its first input is zero."""
    num_layers: Annotated[int, Field(ge=1, le=16)] = 1
    """Stacked recurrent layers, each of hidden_size; a layer's input is the h[t] of the layer below."""
    h0: Literal["zeros", "trainable"] = "zeros"
    """The state before the first step: zeros, or learned (c of an LSTM too)."""
    connectivity: Connectivity = Connectivity()
    """Constraints on the recurrent weights."""
    initialisation: Initialisation = Uniform()
    """How W_hh starts."""
