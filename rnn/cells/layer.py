"""One recurrent layer over whole sequences: what backpropagation through time asks of it.

A layer owns its memory. It is made for one shape (R, T, B), and then, at every training step,

    fill x_RTBI, set initial[…]    forward()    read h_RTBH, final[…]
    fill dh_RTBH                   backward()   read the gradients, dx_RTBI, d_initial[…]

Weights are read where they lie at every call; gradients are overwritten. Implementations are subclasses of `Layer`: the
workspace (`rnn.cells.workspace`), the native kernel (`rnn.cells.native`) and cuDNN (`rnn.cells.cudnn`).
`rnn.cells.make.make_layer` chooses among them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from unroll.contract import Activation


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """What a layer is made for, besides its cell."""

    input_size: int
    time_steps: int
    batch_size: int
    weights: dict[str, Tensor]
    """Tensors of `rnn.networks.parameters.layout` for this layer, each [R, …], by their short names: W_xh, b_x, W_hh,
    b_h, …"""
    gradients: dict[str, Tensor] | None
    """Where `backward` writes, same names and shapes; None: only `forward` will be called."""
    carried: bool = False
    """Whether `initial` may be other than zeros; then d_initial is computed too."""
    dx_RTBI: Tensor | None = None
    """Where `backward` writes the gradient of the inputs, [R, T, B, I]; None: it is not wanted."""
    noisy: bool = False
    """Whether `noise_RTBA` is added to the pre-activations."""
    profiled: bool = False
    """Whether `state_gradients` will be asked for."""
    handed_on: bool = False
    """Whether another layer goes on from `states`, and `d_states` gives their gradient."""


class Transport(NamedTuple):
    """What `rnn.bptt.omega` asks of a layer: the gradients of its state s, and how one step hands them back.

    dL/ds[t+1] · ∂s[t+1]/∂s[t] = keep ∘ dL/ds[t+1] + slope(h[t]) ∘ W_hhᵀ dL/da[t+1]
    """

    ds_RTBH: Tensor
    da_RTBH: Tensor
    keep_R1H: Tensor | None = None
    """What leaks less than wholly; None: zeros."""
    slope: Activation | None = None
    """The activation whose slope it is; None: ones."""


class Layer(ABC):
    """One recurrent layer, made for R replicas, T steps and B sequences."""

    spec: LayerSpec
    x_RTBI: Tensor
    """Inputs, to be filled before `forward`. May be strided."""
    h_RTBH: Tensor
    """What the cell gives to the layer above, after `forward`. `backward` may destroy it. May be strided."""
    dh_RTBH: Tensor
    """The loss's gradient with respect to it from above, to be filled before `backward`, which destroys it."""
    noise_RTBA: Tensor | None
    """Added to the pre-activations, where the spec says so."""
    initial: dict[str, Tensor]
    """Each state before the first step, zeros at first, [R, B, …] with its shape in `CellFacts.states`."""
    d_initial: dict[str, Tensor]
    """The gradient with respect to it, after `backward`, where the spec says `carried`."""
    d_states: dict[str, Tensor]
    """The loss's gradient with respect to those of `states` that h_RTBH is not, in their shapes, to be filled before
    `backward` where the spec says `handed_on`."""

    @property
    @abstractmethod
    def states(self) -> dict[str, Tensor]:
        """Each state after each step, [R, T, B, …], after `forward` and before `backward`. May be strided."""

    @property
    def final(self) -> dict[str, Tensor]:
        """The state after the last step, after `forward` and before `backward`."""
        return {name: trajectory_RTBH[:, -1] for name, trajectory_RTBH in self.states.items()}

    @abstractmethod
    def forward(self) -> None:
        """Run the cell over the sequences."""

    @abstractmethod
    def backward(self) -> None:
        """Write the gradients. Once after each `forward`."""
