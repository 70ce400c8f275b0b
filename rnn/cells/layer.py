"""One recurrent layer over whole sequences: the interface that backpropagation through time uses.

A layer owns its memory. It is made for one shape (R, T, B). Then, at every training step,

    fill x_RTBI, set initial[…]    forward()    read h_RTBH, final[…]
    fill dh_RTBH                   backward()   read the gradients, dx_RTBI, d_initial[…]

Every call reads the weights from their own memory and overwrites the gradients. Implementations are subclasses of
`Layer`: the workspace (`rnn.cells.workspace`), the native kernel (`rnn.cells.native`) and cuDNN (`rnn.cells.cudnn`).
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
    """What a layer needs to know when it is made, besides its cell."""

    input_size: int
    time_steps: int
    batch_size: int
    weights: dict[str, Tensor]
    """This layer's tensors of `rnn.networks.parameters.layout`, each [R, …], by their short names: W_xh, b_x, W_hh,
    b_h, …"""
    gradients: dict[str, Tensor] | None
    """Where `backward` writes the gradients, with the same names and shapes; None if only `forward` will be called."""
    carried: bool = False
    """Whether `initial` may differ from zero. If so, d_initial is computed too."""
    dx_RTBI: Tensor | None = None
    """Where `backward` writes the gradient of the inputs, [R, T, B, I]; None if it is not needed."""
    noisy: bool = False
    """Whether `noise_RTBA` is added to the pre-activations."""
    profiled: bool = False
    """Whether `state_gradients` will be called."""
    handed_on: bool = False
    """Whether another layer continues from `states`, so that `d_states` receives their gradient."""


class Transport(NamedTuple):
    """What `rnn.bptt.omega` needs from a layer: the gradients of its state s, and how they pass back through one step.

    dL/ds[t+1] · ∂s[t+1]/∂s[t] = keep ∘ dL/ds[t+1] + slope(h[t]) ∘ W_hhᵀ dL/da[t+1]
    """

    ds_RTBH: Tensor
    da_RTBH: Tensor
    keep_R1H: Tensor | None = None
    """`keep` in the equation, the fraction of the state that one step keeps; None means zeros."""
    slope: Activation | None = None
    """The activation whose slope the equation uses; None means ones."""


class Layer(ABC):
    """A recurrent layer that is made for R replicas, T steps and B sequences."""

    spec: LayerSpec
    x_RTBI: Tensor
    """Inputs, to be filled before `forward`. May be strided."""
    h_RTBH: Tensor
    """The layer's output, available after `forward`. `backward` may overwrite it. May be strided."""
    dh_RTBH: Tensor
    """The loss's gradient with respect to the output, from above. Fill it before `backward`, which overwrites it."""
    noise_RTBA: Tensor | None
    """Noise that is added to the pre-activations if the spec says `noisy`."""
    initial: dict[str, Tensor]
    """Each state before the first step, initially zeros, [R, B, …] with its shape in `CellFacts.states`."""
    d_initial: dict[str, Tensor]
    """The gradient with respect to `initial`, after `backward`, if the spec says `carried`."""
    d_states: dict[str, Tensor]
    """The loss's gradient with respect to each of `states` that is not h_RTBH, in the same shape. Fill it before
    `backward` if the spec says `handed_on`."""

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
        """Write the gradients. Call it once after each `forward`."""
