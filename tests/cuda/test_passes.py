"""Passes on a GPU: against the CPU in float64, and a graph's replay against the passes themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn.bptt.cuda_graphs import Passes
from rnn.cells.facts import LayerEngine
from tests.cuda.gpu import GPU, relative
from tests.unit.rnn.passes import RUNS, drawn, made
from unroll.contract import DType

pytestmark = pytest.mark.cuda


def fill(bptt: Any, kind: dict[str, Any], seed: int = 3) -> None:
    """With the same numbers on every device."""
    for memory, values in zip(bptt.memory.all(), drawn(bptt, kind, seed), strict=True):
        memory.copy_(values)


@pytest.mark.parametrize(("dtype", "most"), [("float64", 1e-10), ("float32", 5e-5)])
@pytest.mark.parametrize(("cell", "engine", "replicas", "kind"), RUNS)
def test_losses_and_gradients_are_those_of_the_cpu_in_double_precision(
    cell: Any, engine: LayerEngine, replicas: int, kind: dict[str, Any], dtype: DType, most: float
):
    expected, expected_flat_RP, expected_RP = made(cell, "workspace", replicas, kind, "cpu", "float64")
    bptt, flat_RP, gradients_RP = made(cell, engine, replicas, kind, GPU, dtype)
    flat_RP.copy_(expected_flat_RP)
    for each in (expected, bptt):
        fill(each, kind)
        each.forward()
        each.backward()
    assert relative(bptt.loss_R, expected.loss_R) < most
    assert relative(gradients_RP, expected_RP) < most


@pytest.mark.parametrize(("cell", "engine", "replicas", "kind"), RUNS)
def test_a_replayed_graph_gives_the_bits_of_the_passes_themselves(
    cell: Any, engine: LayerEngine, replicas: int, kind: dict[str, Any]
):
    runs = [made(cell, engine, replicas, kind, GPU) for _ in range(2)]
    passes = Passes(runs[1][0], torch.device(GPU))
    assert passes.failure is None
    assert passes.replayed == (GPU == "cuda")
    for step in range(3):
        for (bptt, flat_RP, gradients_RP), each in zip(runs, (runs[0][0], passes), strict=True):
            flat_RP.mul_(0.99)
            fill(bptt, kind, seed=step)
            gradients_RP.fill_(torch.nan)
            each.forward()
            each.backward()
        assert torch.equal(runs[0][0].loss_R, runs[1][0].loss_R), step
        assert torch.equal(runs[0][2], runs[1][2]), step


def test_a_pass_that_asks_the_gpu_for_a_number_runs_without_a_graph_and_the_gpu_stays_usable():
    if GPU != "cuda":
        pytest.skip("only a GPU refuses")

    class Asking:
        """An engine that branches on a value."""

        def __init__(self) -> None:
            self.x = torch.ones(3, device=GPU)
            self.passed = 0

        def forward(self) -> None:
            if float(self.x.sum()) > 0:
                self.x.add_(1.0)
            self.passed += 1

        def backward(self) -> None:
            self.x.mul_(2.0)

    engine = Asking()
    with pytest.warns(RuntimeWarning, match="no CUDA graph"):
        passes = Passes(engine, torch.device(GPU))
    assert passes.failure
    assert not passes.replayed
    before, passed = engine.x.clone(), engine.passed
    passes.forward()
    passes.backward()
    assert torch.equal(engine.x, 2 * (before + 1))
    assert engine.passed == passed + 1
