"""Penalties on weights and states against what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn.bptt import BPTT
from rnn.regularise import WeightPenalty
from rnn.truncated import TruncatedBPTT
from tests.oracles.cases import RUNS, distance, loss_and_gradients, network, problem
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
