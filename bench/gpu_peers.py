"""The ways in which people train on a GPU with PyTorch today, with which `bench/gpu.py` compares ours.

Each function makes a training step (forward, MSE, backward, fused Adam) on a device, with data drawn beforehand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from interleave import Step
from step import Shape, Stock
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rnn.bptt.constraints import Constraints
from rnn.bptt.cuda_graphs import Replay
from rnn.networks import parameters
from unroll.contract import LeakyCell, Network


def modules(s: Shape, device: torch.device) -> Step:
    """Return a step of nn.RNN, nn.LSTM or nn.GRU, which uses cuDNN; R networks run one after another."""
    steps = [_trained(Stock(s).to(device), s, device) for _ in range(s.R)]

    def step() -> None:
        for one in steps:
            one()

    return step


def recorded(s: Shape, device: torch.device) -> Step:
    """Return the same step recorded as one CUDA graph, following PyTorch's notes on CUDA graphs."""
    one = _trained(Stock(s).to(device), s, device, capturable=True)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            one()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        one()
    return Replay(graph, one)  # the model, its data and its optimiser live in the step alone


def masked(s: Shape, device: torch.device, network: Network) -> Step:
    """Return a step of nn.RNN whose W_hh is parametrised to keep Dale's law and a mask.

    cuDNN gets new weights at every step.
    """
    constraints = Constraints(network, torch.zeros(1, parameters.count(network), device=device))
    sign_H, allowed = constraints._sign_H, constraints._layers[0][1]  # noqa: SLF001 - the very same mask
    assert sign_H is not None
    assert allowed is not None

    class Kept(nn.Module):
        """The parametrisation s ∘ |M ∘ V|."""

        def forward(self, V_HH: Tensor) -> Tensor:
            """Return the weights that the network uses."""
            return (V_HH * allowed[0, 0]).abs() * sign_H

    model = Stock(s).to(device)
    parametrize.register_parametrization(model.recurrent, "weight_hh_l0", Kept())
    return _trained(model, s, device)


class Leaky(nn.Module):
    """A leaky rate network as papers' code writes it: a loop over time, under autograd."""

    def __init__(self, s: Shape, cell: LeakyCell, device: torch.device) -> None:
        super().__init__()
        assert isinstance(cell.tau, float)
        self._alpha = cell.dt / cell.tau
        self.inputs, self.recurrent = nn.Linear(s.I, s.H), nn.Linear(s.H, s.H)
        self.readout = nn.Linear(s.H, s.O)
        self._noise_TBH = torch.randn(s.T, s.B, s.H, device=device)

    def forward(self, x_TBI: Tensor) -> Tensor:
        """Return the outputs [T, B, O]."""
        given, h = [], torch.zeros_like(self._noise_TBH[0])
        for a, noise in zip(self.inputs(x_TBI).unbind(), self._noise_TBH.unbind(), strict=True):
            h = torch.lerp(h, torch.tanh(a + self.recurrent(h) + noise), self._alpha)
            given.append(h)
        y_TBO: Tensor = self.readout(torch.stack(given))
        return y_TBO


def leaky(s: Shape, device: torch.device, cell: LeakyCell) -> Step:
    """Return a step of that loop."""
    return _trained(Leaky(s, cell, device).to(device), s, device)


def vmapped(s: Shape, device: torch.device) -> Step:
    """Return a step of R vanilla networks under torch.func.vmap.

    It is written as a loop over time, because cuDNN has no batching rule.
    """
    models = [Stock(s) for _ in range(s.R)]
    names = [name for name, _ in models[0].named_parameters()]
    stacked = {
        name: torch.stack([model.get_parameter(name).detach() for model in models]).to(device).requires_grad_()
        for name in names
    }
    x, target = (torch.randn(s.R, s.T, s.B, width, device=device) for width in (s.I, s.O))

    def loss(w: dict[str, Tensor], x_TBI: Tensor, target_TBO: Tensor) -> Tensor:
        h, given = x_TBI.new_zeros(s.B, s.H), []
        for a in (x_TBI @ w["recurrent.weight_ih_l0"].T + w["recurrent.bias_ih_l0"]).unbind():
            h = torch.tanh(a + h @ w["recurrent.weight_hh_l0"].T + w["recurrent.bias_hh_l0"])
            given.append(h)
        y = torch.stack(given) @ w["readout.weight"].T + w["readout.bias"]
        return nn.functional.mse_loss(y, target_TBO)

    gradients: Callable[..., dict[str, Tensor]] = torch.func.vmap(torch.func.grad(loss))
    optimizer = torch.optim.Adam(stacked.values(), lr=1e-3, fused=True)

    def step() -> None:
        found = gradients({name: tensor.detach() for name, tensor in stacked.items()}, x, target)
        for name, tensor in stacked.items():
            tensor.grad = found[name]
        optimizer.step()

    return step


def _trained(model: nn.Module, s: Shape, device: torch.device, *, capturable: bool = False) -> Step:
    options = {"capturable": True} if capturable else {}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, **options)
    x, target = torch.randn(s.T, s.B, s.I, device=device), torch.randn(s.T, s.B, s.O, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(nn.functional.mse_loss(model(x), target))
        optimizer.step()

    return step
