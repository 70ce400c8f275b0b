"""Recurrent layers one above the other: an upper layer reads, at every step, the h of the layer below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnn.cells.facts import LayerEngine, facts
from rnn.cells.layer import Layer, LayerSpec
from rnn.cells.make import make_layer
from rnn.cells.workspace import WorkspaceLayer
from rnn.networks.noise import noise_of
from rnn.pulse import beat
from unroll.contract import Network


@dataclass(frozen=True, slots=True)
class StackSpec:
    """The options of a stack, besides its network."""

    input_size: int
    time_steps: int
    batch_size: int
    prefix: str = "layers."
    """Prefix of its tensors' names."""
    carried: bool = False
    """Whether the first state may differ from the network's own."""
    handed_on: bool = False
    """Whether another stack continues from its states and returns their gradient (see `Handover`)."""
    noisy: bool = False
    profiled: bool = False
    wants_dx: bool = False
    """Whether `dx_RTBI` is computed."""
    engine: LayerEngine = "auto"


class Stack:
    """The layers, made for one shape.

    Fill `x_RTBI` and call `forward`; fill dh_RTBH of the last layer and call `backward`.
    """

    def __init__(
        self, network: Network, weights: dict[str, Tensor], gradients: dict[str, Tensor] | None, spec: StackSpec
    ) -> None:
        """`weights` and `gradients` are dictionaries by full tensor names, each tensor [R, …].

        Without gradients only `forward` may be called.
        """
        self.spec = spec
        self.layers: list[Layer] = []
        self.continuing = False
        """Whether the layers start from `initial`, which the caller sets, instead of the network's h0."""
        own_h0 = network.h0 == "trainable" and spec.prefix == "layers."
        self._trainable = tuple(facts(network.cell).states) if own_h0 else ()
        self.dx_RTBI: Tensor | None = None
        """The gradient of the inputs, set by `backward`."""
        if spec.wants_dx and gradients is not None:
            like = weights[f"{spec.prefix}0.W_xh"]
            self.dx_RTBI = like.new_zeros(len(like), spec.time_steps, spec.batch_size, spec.input_size)
        for n in range(network.num_layers):
            below = self.layers[-1] if self.layers else None
            layer = LayerSpec(
                input_size=network.cell.hidden_size if below else spec.input_size,
                time_steps=spec.time_steps,
                batch_size=spec.batch_size,
                weights=below_prefix(f"{spec.prefix}{n}.", weights),
                gradients=None if gradients is None else below_prefix(f"{spec.prefix}{n}.", gradients),
                carried=spec.carried or own_h0,
                handed_on=spec.handed_on,
                noisy=spec.noisy and noise_of(network).recurrent > 0,
                profiled=spec.profiled,
                dx_RTBI=below.dh_RTBH if below and gradients is not None else self.dx_RTBI,
            )
            self.layers.append(make_layer(network.cell, layer, spec.engine))

    @property
    def x_RTBI(self) -> Tensor:  # noqa: N802 - axes
        """The inputs of the first layer, which the caller fills."""
        return self.layers[0].x_RTBI

    @property
    def noise_RTBH(self) -> tuple[Tensor, ...]:  # noqa: N802 - axes
        """The noise of each layer, which the caller fills, if the network has recurrent noise."""
        return tuple(layer.noise_RTBA for layer in self.layers if layer.noise_RTBA is not None)

    def forward(self) -> None:
        """Run the layers."""
        below: Layer | None = None
        for layer in self.layers:
            if below is not None:
                layer.x_RTBI.copy_(below.h_RTBH)
            if not self.continuing:
                for name in self._trainable:
                    layer.initial[name].copy_(layer.spec.weights[f"{name}0"].unsqueeze(1))
                if self.spec.carried and not self._trainable:
                    for state in layer.initial.values():
                        state.zero_()
            layer.forward()
            beat()
            below = layer

    def backward(self, reach: Callable[[Layer], None] | None = None, handover: Handover | None = None) -> None:
        """Write the gradients of the layers.

        `reach` is called with each layer before it runs, and may add to its dh_RTBH.
        """
        for n in reversed(range(len(self.layers))):
            layer = self.layers[n]
            if reach is not None:
                reach(layer)
            if handover is not None:
                handover.give_back(n)
            layer.backward()
            beat()
            for name in self._trainable:
                gradient = (layer.spec.gradients or {})[f"{name}0"]
                if self.continuing:
                    gradient.zero_()
                else:
                    torch.sum(layer.d_initial[name], 1, out=gradient)

    def state_gradients(self) -> Tensor:
        """Return dL/dh[t] of the last layer, [R, T, B, H], after `backward` of a stack made with `profiled`."""
        last = self.layers[-1]
        assert isinstance(last, WorkspaceLayer)  # noqa: S101 - so asked for with `profiled`
        return last.state_gradients()


class Handover:
    """Passes the state of one stack after each sequence's last valid step to another stack as its initial state."""

    def __init__(self, source: Stack, target: Stack, length_RB: Tensor | None = None) -> None:
        """`length_RB` is the number of valid steps of each sequence; None means all."""
        self._source, self._target, self._length_RB = source, target, length_RB

    def hand_on(self) -> None:
        """Set the target's initial states, after the source's `forward`."""
        for source, target in zip(self._source.layers, self._target.layers, strict=True):
            for name, trajectory_RTBH in source.states.items():
                if self._length_RB is None:
                    target.initial[name].copy_(trajectory_RTBH[:, -1])
                else:
                    last = self._last(trajectory_RTBH)
                    target.initial[name].copy_(trajectory_RTBH.gather(1, last).squeeze(1))

    def give_back(self, n: int) -> None:
        """Add the target's d_initial to the gradients of the source's layer n, before that layer's backward pass."""
        source, target = self._source.layers[n], self._target.layers[n]
        for name, d_RBH in target.d_initial.items():
            d_RTBH = source.dh_RTBH
            if name in source.d_states:
                d_RTBH = source.d_states[name].zero_()
            self._add_to_last(d_RTBH, d_RBH)

    def state_gradients(self) -> Tensor:
        """Return the source's state gradients, including those through the state that it handed on.

        Call it after both stacks' `backward`.
        """
        d_RTBH, target = self._source.state_gradients(), self._target.layers[-1]
        assert isinstance(target, WorkspaceLayer)  # noqa: S101 - as the source's is
        rate_RBH = target.rate_gradient()
        if rate_RBH is not None:
            self._add_to_last(d_RTBH, rate_RBH)
        return d_RTBH

    def _add_to_last(self, d_RTBH: Tensor, d_RBH: Tensor) -> None:
        if self._length_RB is None:
            d_RTBH[:, -1].add_(d_RBH)
        else:
            d_RTBH.scatter_add_(1, self._last(d_RTBH), d_RBH.unsqueeze(1))

    def _last(self, trajectory_RTBH: Tensor) -> Tensor:
        """Return the index of the last valid step, [R, 1, B, H]."""
        assert self._length_RB is not None  # noqa: S101 - asked for by callers
        R, _, B, *shape = trajectory_RTBH.shape
        return (self._length_RB - 1).view(R, 1, B, *(1 for _ in shape)).expand(R, 1, B, *shape)


def below_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
