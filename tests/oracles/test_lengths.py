"""Sequences of different lengths, and how far back gradients reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rnn.bptt.whole import BPTT
from rnn.networks import parameters
from rnn.reference import equations
from tests.oracles.cases import CELLS, RUNS, H, distance, loss_and_gradients, network, problem
from unroll.contract import (
    MSE,
    PoissonNLL,
)


@pytest.mark.parametrize(("cell", "engine"), RUNS)
@pytest.mark.parametrize("loss", [MSE(), MSE(over="sequences"), PoissonNLL()], ids=str)
def test_padding_changes_neither_loss_nor_gradients(cell: Any, engine: Any, loss: Any):
    """Different lengths in one padded batch against each sequence alone, and more padding with other numbers in it."""
    net = network(cell)
    flat_RP, x, target = problem(net)
    lengths = [7, 3, 1]
    gradients = torch.zeros_like(flat_RP)

    def padded(T: int, fill: float) -> Any:
        bptt = BPTT(net, flat_RP, gradients, T, 3, loss, weighted=True, engine=engine)
        weight = torch.zeros(2, T, 3, dtype=torch.float64)
        long_x, long_target = (torch.full((2, T, 3, part.shape[-1]), fill, dtype=torch.float64) for part in (x, target))
        for b, length in enumerate(lengths):
            weight[:, :length, b] = 1.0
            long_x[:, :length, b], long_target[:, :length, b] = x[:, :length, b], target[:, :length, b]
        bptt.memory.weight_RTB.copy_(weight)
        return loss_and_gradients(bptt, long_x, long_target, gradients)

    loss_R, found = padded(7, 0.0)
    more_loss_R, more = padded(11, 3.0)
    assert distance(more_loss_R, loss_R) < 1e-12
    assert distance(more, found) < 1e-12

    total_R, total = torch.zeros_like(loss_R), torch.zeros_like(found)
    for b, length in enumerate(lengths):
        alone = BPTT(net, flat_RP, gradients, length, 1, loss, engine=engine)
        one = loss_and_gradients(alone, x[:, :length, b : b + 1], target[:, :length, b : b + 1], gradients)
        share = 1 / 3 if loss.type == "mse" and loss.over == "sequences" else length / sum(lengths)
        total_R += share * one[0]
        total += share * one[1]
    assert distance(loss_R, total_R) < 1e-12
    assert distance(found, total) < 1e-12


@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.type}-{getattr(cell, 'leak', '')}")
def test_the_lag_profile_is_the_norm_of_autograd_s_gradient_at_every_state(cell: Any, architecture: Any):
    net = network(cell, architecture=architecture)
    flat_RP, x, target = problem(net)
    gradients = torch.zeros_like(flat_RP)
    engine = BPTT(net, flat_RP, gradients, 7, 3, profiled=True)
    loss_and_gradients(engine, x, target, gradients)
    profile = engine.lag_profile()
    assert profile.shape == (2, 7)
    for r in range(2):
        tensors = {name: tensor[r] for name, tensor in parameters.views(flat_RP, net).items()}
        h = x[r]
        for n in range(2):
            w = {name.removeprefix(f"layers.{n}."): t for name, t in tensors.items() if name.startswith(f"layers.{n}.")}
            # What a small push on the given h[t] does to the loss, pushes added inside the last layer's recursion.
            push = torch.zeros(7, 3, H, dtype=torch.float64, requires_grad=n == 1)
            h = equations.layer(torch, cell, w, h, push)
        y = h @ tensors["readout.W_hy"].T + tensors["readout.b_y"]
        kept = slice(-1, None) if architecture == "many_to_one" else slice(None)
        equations.cost(torch, MSE(), y[kept], target[r][kept]).backward()
        assert push.grad is not None
        np.testing.assert_allclose(profile[r], push.grad.norm(dim=(1, 2)), rtol=1e-10, atol=1e-14)
