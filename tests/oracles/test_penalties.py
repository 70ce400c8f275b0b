"""Penalties on weights and states against what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn import equations, parameters
from rnn.bptt import BPTT
from rnn.regularise import WeightPenalty
from rnn.truncated import TruncatedBPTT
from tests.oracles.cases import RUNS, H, distance, loss_and_gradients, network, problem
from unroll.contract import (
    MSE,
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

    leaf = flat_RP.clone().requires_grad_()
    penalties, total = [], torch.zeros((), dtype=torch.float64)
    for r in range(2):
        tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
        weights = [w for name, w in tensors.items() if ".W_" in name]
        recurrent = [w.view(-1, H, H) for name, w in tensors.items() if name.endswith("W_hh")]
        h, given = x[r], []
        for n in range(2):
            w = {name.removeprefix(f"layers.{n}."): t for name, t in tensors.items() if name.startswith(f"layers.{n}.")}
            h = equations.layer(torch, cell, w, h)
            given.append(h)
        penalties.append(
            0.3
            * {
                "l1": lambda weights=weights: sum(w.abs().sum() for w in weights),
                "l2": lambda weights=weights: sum((w**2).sum() for w in weights) / 2,
                "activity": lambda given=given: sum((h**2).mean() for h in given),
                "orthogonality": lambda recurrent=recurrent: sum(
                    ((W.mT @ W - torch.eye(H, dtype=W.dtype)) ** 2).sum() for W in recurrent
                ),
            }[kind]()
        )
        y = h @ tensors["readout.W_hy"].T + tensors["readout.b_y"]
        total = total + penalties[-1] + ((y - target[r]) ** 2).mean()
    total.backward()
    assert leaf.grad is not None
    assert penalty_R.tolist() == pytest.approx([p.item() for p in penalties], rel=1e-12)
    assert distance(gradients, leaf.grad) < 1e-10


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
    leaf = flat_RP.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for r in range(2):
        tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
        states: list[dict[str, Any]] = [{}, {}]
        outputs = []
        for start in range(0, 7, K):
            h = x[r, start : start + K]
            for n in range(2):
                prefix = f"layers.{n}."
                w = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
                h, states[n] = equations.layer_from(torch, cell, w, h, states[n])
                states[n] = {name: state.detach() for name, state in states[n].items()}
                total = total + 0.3 * (h**2).sum() / (7 * 3 * H)
            outputs.append(h @ tensors["readout.W_hy"].T + tensors["readout.b_y"])
        kept = slice(-1, None) if architecture == "many_to_one" else slice(None)
        total = total + equations.cost(torch, MSE(), torch.cat(outputs)[kept], target[r][kept])
    total.backward()
    assert leaf.grad is not None
    assert distance(found, leaf.grad) < 1e-12
