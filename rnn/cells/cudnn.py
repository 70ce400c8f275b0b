"""Vanilla (tanh, relu), LSTM and GRU layers on PyTorch's fused recurrent operations, which use cuDNN on a GPU.

One call runs all time steps forward and another runs all of them backward, so autograd records one node for each layer
instead of one for each step. Equations, gate order and shapes are those of `rnn.cells.vanilla`, `lstm` and `gru`;
cuDNN's GRU applies its reset gate after the recurrent product, as ours does. Each `forward` copies the weights into
cuDNN's own buffer, and each `backward` copies the gradients out of it, so that constraints and optimisers work on the
flat matrix as they do for every other layer.

cuDNN runs one network, not R of them, and has no noise inside the recursion. On a CPU the same operations run without
cuDNN. The oracles use this to test the file where there is no GPU; `auto` never chooses it there.

Source: `torch.nn.RNN`, `torch.nn.LSTM`, `torch.nn.GRU`; Chetlur et al. 2014, "cuDNN".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn.cells.facts import CellFacts, facts
from rnn.cells.layer import Layer, LayerSpec
from unroll.contract import Cell

_NAMES = {"W_xh": "weight_ih_l0", "W_hh": "weight_hh_l0", "b_x": "bias_ih_l0", "b_h": "bias_hh_l0"}


def chosen(cell: Cell, device: str, replicas: int, *, noisy: bool = False) -> bool:
    """Return whether `auto` means cuDNN: on a GPU, for one network at a time, without recurrent noise."""
    there: bool = torch.backends.cudnn.is_available() and torch.backends.cudnn.enabled  # type: ignore[no-untyped-call]
    return device == "cuda" and replicas == 1 and not noisy and facts(cell).cudnn is not None and there


class CuDNNLayer(Layer):
    """A layer of one replica that cuDNN runs, in float32 or float64.

    Raises ValueError for a layer that cuDNN cannot run.
    """

    def __init__(self, spec: LayerSpec, cell: Cell) -> None:
        W_xh, about = spec.weights["W_xh"], facts(cell)
        if about.cudnn is None or len(W_xh) != 1 or spec.noisy or spec.profiled:
            raise ValueError(
                f"cuDNN has no {cell.type} layer like this one: one replica of vanilla (tanh, relu), lstm or gru, "
                "without recurrent noise, its states' gradients out of reach"
            )
        self.spec = spec
        T, B, H = spec.time_steps, spec.batch_size, cell.hidden_size
        self._trains = spec.gradients is not None
        self._module = _module(about, spec.input_size, W_xh).train(self._trains)
        self._parameters = {name: self._module.get_parameter(theirs) for name, theirs in _NAMES.items()}

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=W_xh.dtype, device=W_xh.device)

        self.x_RTBI = zeros(1, T, B, spec.input_size)
        self.h_RTBH = zeros(1, T, B, H)
        self.noise_RTBA = None
        self.initial = {name: zeros(1, B, *shape) for name, shape in about.states.items()}
        self._last = {name: zeros(1, B, *shape) for name, shape in about.states.items()}
        self.d_initial, self.d_states = {}, {}
        # Autograd needs these from `forward` to `backward`: the output, and the tensors to differentiate it by.
        self._given: Tensor | None = None
        self._sources: dict[str, Tensor] = {}
        if self._trains:
            self.dh_RTBH = zeros(1, T, B, H)
            self.d_initial = {name: zeros(1, B, *shape) for name, shape in about.states.items()}

    @property
    def states(self) -> dict[str, Tensor]:
        """State h after each step. An LSTM's c is known after the last step only, so it is not here."""
        return {"h": self.h_RTBH}

    @property
    def final(self) -> dict[str, Tensor]:
        """State h[T], and c[T] of an LSTM."""
        return self._last

    def forward(self) -> None:
        """See `Layer`."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self.spec.weights[name][0])
        with torch.set_grad_enabled(self._trains):
            x_TBI = self.x_RTBI[0].detach()
            state = {name: first.detach() for name, first in self.initial.items()}
            if self._trains:
                self._sources = dict(self._parameters)
                if self.spec.dx_RTBI is not None:
                    self._sources["x"] = x_TBI.requires_grad_()
                if self.spec.carried:
                    self._sources |= {f"{name} first": first.requires_grad_() for name, first in state.items()}
            h_TBH, last = self._module(x_TBI, tuple(state.values()) if len(state) > 1 else state["h"])
        self._given = h_TBH if self._trains else None
        self.h_RTBH[0].copy_(h_TBH.detach())
        for memory, value in zip(self._last.values(), last if len(state) > 1 else (last,), strict=True):
            memory.copy_(value.detach())

    def backward(self) -> None:
        """See `Layer`."""
        assert self._given is not None  # noqa: S101 - called once after each `forward`, on a layer with gradients
        found = torch.autograd.grad(self._given, list(self._sources.values()), self.dh_RTBH[0])
        by_name = dict(zip(self._sources, found, strict=True))
        self._given, self._sources = None, {}
        for name in self._parameters:
            (self.spec.gradients or {})[name][0].copy_(by_name[name])
        if self.spec.dx_RTBI is not None:
            self.spec.dx_RTBI[0].copy_(by_name["x"])
        if self.spec.carried:
            for name, memory in self.d_initial.items():
                memory.copy_(by_name[f"{name} first"])


def _module(about: CellFacts, input_size: int, like: Tensor) -> nn.RNNBase:
    """Return a torch module that holds the parameters in one buffer, as cuDNN needs them, and calls cuDNN."""
    sizes = input_size, about.hidden_size
    if about.cudnn == "RNN":
        return nn.RNN(*sizes, nonlinearity=about.activation, dtype=like.dtype, device=like.device)
    kind = nn.LSTM if about.cudnn == "LSTM" else nn.GRU
    return kind(*sizes, dtype=like.dtype, device=like.device)
