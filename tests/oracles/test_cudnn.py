"""The layers on PyTorch's fused recurrent operations: on CPU, where they are the same operations without cuDNN.

What cuDNN itself computes is tested in tests/cuda, where there is a GPU.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from rnn.cells import make as cells
from rnn.cells.cudnn import CuDNNLayer
from rnn.cells.make import cudnn
from rnn.cells.vanilla import VanillaLayer
from rnn.networks import parameters
from rnn.training import environment
from tests.oracles.cells import by_autograd, distance, network, parameters_of, run
from unroll.contract import (
    BCE,
    MSE,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    Noise,
    VanillaCell,
)

H = 4
CELLS: list[Any] = [
    VanillaCell(hidden_size=H),
    VanillaCell(hidden_size=H, activation="relu"),
    LSTMCell(hidden_size=H),
    GRUCell(hidden_size=H),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.type}-{getattr(cell, 'activation', '')}")
@pytest.mark.parametrize("h0", ["zeros", "trainable"])
@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize(("T", "B", "layers"), [(1, 1, 1), (6, 3, 1), (5, 2, 3)])
def test_loss_and_gradients_are_those_of_autograd_over_the_equations(
    cell: Any, h0: Any, architecture: Any, T: int, B: int, layers: int
):
    net = network(cell, layers, h0=h0, architecture=architecture)
    flat_RP = parameters_of(net, 1)
    bptt, gradients_RP, x, target = run(net, flat_RP, T, B, engine="cudnn")
    assert all(isinstance(layer, CuDNNLayer) for layer in bptt.layers)
    loss_R, expected = by_autograd(net, flat_RP, x, target, MSE())
    assert distance(bptt.loss_R, loss_R) < 1e-12
    for name, gradient in parameters.views(gradients_RP, net).items():
        assert gradient.numpy() == pytest.approx(parameters.views(expected, net)[name].numpy(), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.type}-{getattr(cell, 'activation', '')}")
def test_single_precision_agrees_to_its_rounding(cell: Any):
    net = network(cell, 2)
    flat_RP = parameters_of(net, 1)
    _, expected, _, _ = run(net, flat_RP, 8, 5, BCE(), "workspace")
    gradients_RP = run(net, flat_RP.float(), 8, 5, BCE(), "cudnn")[1]
    assert distance(gradients_RP, expected) < 2e-6


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.type}-{getattr(cell, 'activation', '')}")
@pytest.mark.parametrize("h0", ["zeros", "trainable"])
def test_windows_carry_the_state_as_the_workspace_does(cell: Any, h0: Any):
    net = network(cell, 2, h0=h0)
    flat_RP = parameters_of(net, 1)
    found = []
    for engine in ("workspace", "cudnn"):
        gradients_RP = torch.zeros_like(flat_RP)
        bptt = TruncatedBPTT(net, flat_RP, gradients_RP, 7, 3, window=3, engine=engine)  # type: ignore[arg-type]
        for tensor in bptt.memory.all():
            tensor.copy_(torch.randn(tensor.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
        bptt.forward()
        bptt.backward()
        found.append((bptt.loss_R, gradients_RP))
    assert distance(found[1][0], found[0][0]) < 1e-12
    assert distance(found[1][1], found[0][1]) < 1e-12


def test_weights_are_read_anew_at_every_forward_pass_and_gradients_only_written():
    net = network(GRUCell(hidden_size=H))
    flat_RP = parameters_of(net, 1)
    before = flat_RP.clone()
    gradients_RP = torch.full_like(flat_RP, torch.nan)
    bptt = BPTT(net, flat_RP, gradients_RP, 5, 2, engine="cudnn")
    bptt.x_RTBI.copy_(torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(1)))
    losses = []
    for scale in (1.0, 0.5, 1.0):
        flat_RP.copy_(before * scale)
        bptt.forward()
        bptt.backward()
        assert torch.isfinite(gradients_RP).all()
        losses.append(bptt.loss_R.item())
    assert torch.equal(flat_RP, before)
    assert losses[0] == losses[2] != losses[1]


def test_without_gradients_only_forward_runs_and_no_graph_is_kept():
    net = network(LSTMCell(hidden_size=H), 2)
    flat_RP = parameters_of(net, 1)
    losses = []
    for engine in ("workspace", "cudnn"):
        bptt = BPTT(net, flat_RP, None, 5, 2, engine=engine)  # type: ignore[arg-type]
        bptt.x_RTBI.copy_(torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(1)))
        bptt.forward()
        losses.append(bptt.loss_R.item())
        assert not any(layer.h_RTBH.requires_grad for layer in bptt.layers)
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)


@pytest.mark.parametrize(
    ("cell", "replicas", "noisy"),
    [
        (VanillaCell(hidden_size=H, activation="sigmoid"), 1, False),
        (LinearCell(hidden_size=H), 1, False),
        (FeedForwardCell(hidden_size=H), 1, False),
        (LeakyCell(hidden_size=H), 1, False),
        (LeakyCell(hidden_size=H, noise=Noise(recurrent=0.1)), 1, True),
        (VanillaCell(hidden_size=H), 2, False),
    ],
)
def test_what_cudnn_lacks_is_refused_and_left_to_the_workspace(
    cell: Any, replicas: int, noisy: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch._C, "_has_cudnn", True)
    assert cells.chosen(cell, "float32", "cuda", replicas, noisy=noisy) == "workspace"
    net = Network(cell=cell, input_size=2, output_size=1)
    with pytest.raises(ValueError, match="cuDNN"):
        BPTT(net, torch.zeros(replicas, parameters.count(net)), None, 3, 2, noisy=noisy, engine="cudnn")


def test_auto_is_cudnn_on_a_gpu_for_one_network_of_the_cells_it_has(monkeypatch: pytest.MonkeyPatch):
    assert [cells.chosen(cell, "float64", "cpu") for cell in CELLS] == ["workspace"] * 4
    assert [cells.chosen(cell, "float32", "cuda") for cell in CELLS] == ["workspace"] * 4, "a build without cuDNN"
    monkeypatch.setattr(torch._C, "_has_cudnn", True)
    assert [cells.chosen(cell, "float32", "cuda") for cell in CELLS] == ["cudnn"] * 4
    assert cells.chosen(CELLS[0], "float32", "cuda", noisy=True) == "workspace"
    assert not cudnn.chosen(CELLS[0], "cpu", 1)
    net = Network(cell=CELLS[0], input_size=1, output_size=1)
    assert isinstance(BPTT(net, torch.zeros(1, parameters.count(net)).double(), None, 3, 2).layers[0], VanillaLayer)


def test_the_environment_names_the_engine_of_a_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch._C, "_has_cudnn", True)
    monkeypatch.setattr(torch.backends.cudnn.m, "version", lambda: 91002)
    net = Network(cell=LSTMCell(hidden_size=H), input_size=1, output_size=1)
    one = environment.describe("cuda", net)
    assert one["device"] == "a GPU"
    assert str(one["engine"]).startswith("cudnn-91002, cuda graph+")
    many = environment.describe("cuda", net, replicas=8)
    assert str(many["engine"]).startswith(f"{environment.ENGINE}, cuda graph+")
    handed_on = net.model_copy(update={"architecture": "encoder_decoder"})
    assert str(environment.describe("cuda", handed_on)["engine"]).startswith(f"{environment.ENGINE}, cuda graph+")
    noisy = net.model_copy(update={"cell": LeakyCell(hidden_size=H, noise=Noise(recurrent=0.1))})
    assert str(environment.describe("cuda", noisy, tf32=True)["engine"]).startswith(
        f"{environment.ENGINE}, cuda graph, tf32+"
    )
