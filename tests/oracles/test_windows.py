"""Truncated backpropagation: a window of all steps is the whole, shorter ones detach the state between them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from tests.oracles.cases import RUNS, distance, loss_and_gradients, network, problem
from tests.oracles.reference import by_autograd


@pytest.mark.parametrize("h0", ["zeros", "trainable"])
@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize(("cell", "engine"), RUNS)
def test_a_window_of_all_steps_is_full_backpropagation(cell: Any, architecture: Any, h0: Any, engine: Any):
    net = network(cell, architecture=architecture, h0=h0 if cell.type != "feedforward" else "zeros")
    flat_RP, x, target = problem(net)
    gradients = torch.zeros_like(flat_RP)
    whole = loss_and_gradients(BPTT(net, flat_RP, gradients, 7, 3, engine=engine), x, target, gradients)
    window = TruncatedBPTT(net, flat_RP, gradients, 7, 3, window=7, engine=engine)
    truncated = loss_and_gradients(window, x, target, gradients)
    assert distance(truncated[0], whole[0]) < 1e-12
    assert distance(truncated[1], whole[1]) < 1e-12


@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize(("cell", "engine"), RUNS)
@pytest.mark.parametrize("K", [1, 3, 6])
def test_windows_have_the_whole_loss_and_the_gradients_of_a_state_that_is_detached_between_them(
    cell: Any, architecture: Any, engine: Any, K: int
):
    """Reference: autograd, each window started from the last one's states without their history."""
    net = network(cell, architecture=architecture)
    flat_RP, x, target = problem(net)
    gradients = torch.zeros_like(flat_RP)
    full, _ = loss_and_gradients(BPTT(net, flat_RP, gradients, 7, 3), x, target, gradients)
    window = TruncatedBPTT(net, flat_RP, gradients, 7, 3, window=K, engine=engine)
    loss_R, found = loss_and_gradients(window, x, target, gradients)
    assert distance(loss_R, full) < 1e-12

    _, _, expected = by_autograd(net, flat_RP, x, target, window=K)
    assert distance(found, expected) < 1e-12
    if K < 6 and cell.type != "feedforward":
        _, untruncated = loss_and_gradients(BPTT(net, flat_RP, gradients, 7, 3), x, target, gradients)
        assert distance(found, untruncated) > 1e-4
