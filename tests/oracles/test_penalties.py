"""Penalties on weights and states against what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn.bptt.penalties import WeightPenalty
from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from rnn.networks import parameters
from rnn.reference import equations
from tests.oracles.cases import RUNS, H, distance, loss_and_gradients, network, problem
from tests.oracles.reference import by_autograd
from unroll.contract import (
    Regularisation,
)


@pytest.mark.parametrize(("cell", "engine"), [run for run in RUNS if run.values[0].type != "feedforward"])
@pytest.mark.parametrize("kind", ["l1", "l2", "activity", "orthogonality"])
def test_penalties_have_the_gradients_of_what_they_say(cell: Any, engine: Any, kind: str):
    net = network(cell)
    flat_RP, x, target = problem(net)
    config = Regularisation(**{kind: 0.3})
    gradients = torch.zeros_like(flat_RP)
    bptt = BPTT(net, flat_RP, gradients, 7, 3, activity=config.activity, engine=engine)
    loss_and_gradients(bptt, x, target, gradients)
    penalty_R = bptt.penalty_R + WeightPenalty(net, config, flat_RP, gradients).add()

    _, penalties, expected = by_autograd(net, flat_RP, x, target, config)
    assert penalty_R.tolist() == pytest.approx(penalties, rel=1e-12)
    assert distance(gradients, expected) < 1e-10


@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize(("cell", "engine"), RUNS)
@pytest.mark.parametrize("K", [1, 3, 7])
def test_the_penalty_on_activity_is_a_mean_over_all_steps_whatever_the_window(
    cell: Any, engine: Any, architecture: Any, K: int
):
    """Its gradients stop where the loss's do; a window of all steps is full backpropagation."""
    net = network(cell, architecture=architecture)
    flat_RP, x, target = problem(net)
    gradients = torch.zeros_like(flat_RP)
    window = TruncatedBPTT(net, flat_RP, gradients, 7, 3, window=K, activity=0.3, engine=engine)
    loss_R, found = loss_and_gradients(window, x, target, gradients)
    full = BPTT(net, flat_RP, gradients, 7, 3, activity=0.3, engine=engine)
    full_loss_R, untruncated = loss_and_gradients(full, x, target, gradients)
    assert distance(window.penalty_R, full.penalty_R) < 1e-12
    assert distance(loss_R, full_loss_R) < 1e-12
    if K == 7 or cell.type == "feedforward":
        assert distance(found, untruncated) < 1e-12
        return
    _, _, expected = by_autograd(net, flat_RP, x, target, Regularisation(activity=0.3), K)
    assert distance(found, expected) < 1e-12


@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(("cell", "engine"), RUNS)
def test_padding_has_no_activity(cell: Any, engine: Any, window: int | None, architecture: Any):
    """Of sequences of 7, 3 and 1 steps the mean is over 11, however long their memory and whatever it holds."""
    net, lengths = network(cell, architecture=architecture), (7, 3, 1)
    flat_RP, x, target = problem(net)
    gradients = torch.zeros_like(flat_RP)

    def padded(T: int, fill: float) -> tuple[list[float], torch.Tensor]:
        more: Any = {"weighted": True, "activity": 0.3, "engine": engine}
        flat = flat_RP, gradients
        bptt: Any = (
            BPTT(net, *flat, T, 3, **more) if window is None else TruncatedBPTT(net, *flat, T, 3, window=window, **more)
        )
        long_x, long_target = (torch.full((2, T, 3, part.shape[-1]), fill, dtype=torch.float64) for part in (x, target))
        weight_RTB = torch.zeros(2, T, 3, dtype=torch.float64)
        for b, length in enumerate(lengths):
            first = length - 1 if architecture == "many_to_one" else 0
            weight_RTB[:, first:length, b] = 1.0
            long_x[:, :length, b], long_target[:, :length, b] = x[:, :length, b], target[:, :length, b]
        bptt.memory.weight_RTB.copy_(weight_RTB)
        loss_and_gradients(bptt, long_x, long_target, gradients)
        return bptt.penalty_R.tolist(), gradients.clone()

    penalties, found = padded(7, 0.0)
    longer_penalties, longer = padded(10, 3.0)
    assert longer_penalties == pytest.approx(penalties, rel=1e-12)
    if window is None:
        assert distance(longer, found) < 1e-12

        leaf, total = flat_RP.clone().requires_grad_(), torch.zeros((), dtype=torch.float64)
        expected = []
        for r in range(2):
            tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
            squares = torch.zeros((), dtype=torch.float64)
            cost = torch.zeros((), dtype=torch.float64)
            for b, length in enumerate(lengths):
                h = x[r, :length, b : b + 1]
                for n in range(2):
                    w = {k.removeprefix(f"layers.{n}."): t for k, t in tensors.items() if k.startswith(f"layers.{n}.")}
                    h = equations.layer(torch, cell, w, h)
                    squares = squares + (h**2).sum()
                error = (h @ tensors["readout.W_hy"].T + tensors["readout.b_y"] - target[r, :length, b : b + 1]) ** 2
                cost = cost + (error[-1:].sum() / 3 if architecture == "many_to_one" else error.sum() / 11)
            expected.append(0.3 * squares / (11 * H))
            total = total + cost + expected[-1]
        total.backward()
        assert leaf.grad is not None
        assert penalties == pytest.approx([penalty.item() for penalty in expected], rel=1e-12)
        assert distance(found, leaf.grad) < 1e-12
