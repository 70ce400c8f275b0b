"""Configuration of a recurrent network: its cell, sizes, architecture and the constraints on W_hh.

The course's equations, for one replica (source: the course notes, week 7):

    h[t] = f(W_xh x[t] + b_x + W_hh h[t-1] + b_h),   y[t] = W_hy h[t] + b_y

Architectures differ in which steps have inputs and outputs:

    one_to_one        one step with both: no recurrence is used
    one_to_many       an input at the first step, zeros after it; outputs at every step
    many_to_one       inputs at every step, one output at the last step of a sequence
    many_to_many      inputs and outputs at every step
    encoder_decoder   an encoder reads the inputs; a decoder of the same cell, with its own weights, starts from the
                      encoder's last state (h, and c of an LSTM), reads its own last output, and writes as many
                      outputs as requested (Sutskever, Vinyals & Le 2014)
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
"""The function that gives an output the units of the targets, for each loss."""


class Network(Request):
    """The configuration of one recurrent network."""

    cell: Cell
    """What one layer computes in one time step. Without a `type` it is a vanilla cell."""
    input_size: Annotated[int, Field(ge=1, le=MAX_WIDTH, examples=[1])]
    """Width of x[t], I; with a vocabulary, the width of the embedding."""
    output_size: Annotated[int, Field(ge=1, le=MAX_WIDTH, examples=[1])]
    """Width of y[t], O."""
    architecture: Architecture = "many_to_many"
    """Which steps have inputs and outputs."""
    vocabulary_size: Annotated[int, Field(ge=1, le=MAX_WIDTH)] | None = None
    """Number of tokens, V. Inputs are then tokens 0 to V-1, one number for each step, and x[t] is the token's row in a
    learned table [V, I]. null: inputs are vectors."""
    feedback: Feedback = "identity"
    """Function of its last output y that the decoder of an encoder_decoder reads, so that it has the units of the
    targets: identity (mse), softmax (cross_entropy), sigmoid (bce), exp (poisson). The decoder's first input is zero.
    """
    num_layers: Annotated[int, Field(ge=1, le=16)] = 1
    """Number of stacked recurrent layers, each with hidden_size units. A layer's input is h[t] of the layer below."""
    h0: Literal["zeros", "trainable"] = "zeros"
    """State before the first step: zeros, or learned (for an LSTM also c)."""
    connectivity: Connectivity = Connectivity()
    """Constraints on the recurrent weights."""
    initialisation: Initialisation = Uniform()
    """How W_hh is initialised. A bare name is short for an object: "orthogonal" for {"type": "orthogonal"}."""
