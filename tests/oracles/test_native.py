"""The native kernel: each instruction set, however threads share the work, against the workspace in float64."""

from __future__ import annotations

import subprocess
import sys
import weakref
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch

from rnn import kernels
from rnn.bptt.whole import BPTT
from rnn.cells.layer import Layer, LayerSpec
from rnn.cells.make import make_layer
from rnn.cells.native import NativeLayer, torch_alone
from rnn.kernels import abi
from rnn.kernels.build import BuildError, build
from rnn.networks import parameters
from rnn.training import environment
from unroll.contract import (
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LSTMCell,
    Network,
    VanillaCell,
)

INSTRUCTION_SETS = ["avx512", "avx2", "portable"]
CELLS: dict[str, Any] = {
    "vanilla": VanillaCell,
    "gru": GRUCell,
    "lstm": LSTMCell,
    "softplus": partial(VanillaCell, activation="softplus"),
    "rates": LeakyCell,
    "rates-learned": partial(LeakyCell, tau=3.0, learn_tau="per_unit"),
    "potentials": partial(LeakyCell, leak="potentials", tau=2.0),
    "potentials-learned": partial(LeakyCell, leak="potentials", activation="sigmoid", tau=4.0, learn_tau="shared"),
}
# Around the kernel's own sizes: tiles of 6 or 8 rows, panels of up to 64 columns, blocks of 128 sequences.
SHAPES = [
    (1, 3, 7, 1, 1),
    (3, 5, 20, 37, 2),
    (2, 3, 9, 100, 5),
    (1, 2, 300, 64, 1),
    (5, 4, 1, 17, 3),
    (1, 120, 2, 16, 1),
]


def usable(instruction_set: str) -> str:
    """The name, or a skipped test where the processor has no such instructions."""
    have = INSTRUCTION_SETS[INSTRUCTION_SETS.index(kernels.instruction_set()) :]
    return instruction_set if instruction_set in have else pytest.skip(f"this processor has no {instruction_set}")


def passed(
    cell: Any, shape: tuple[int, ...], dtype: torch.dtype, instruction_set: str | None = None
) -> list[torch.Tensor]:
    """All that one layer computes in both passes: on the kernel, or without a set in the workspace in float64."""
    R, T, B, H, I = shape  # noqa: E741
    network = Network(cell=cell(hidden_size=H), input_size=I, output_size=1)
    flat_RP = torch.from_numpy(parameters.initialise(network, 2, R, "float64")).to(dtype)
    if instruction_set is None:
        flat_RP = flat_RP.double()
    gradient_RP = torch.zeros_like(flat_RP)
    named = [parameters.views(flat, network) for flat in (flat_RP, gradient_RP)]
    weights, to = ({n.removeprefix("layers.0."): w for n, w in d.items() if n[0] == "l"} for d in named)
    dx_RTBI = torch.zeros(R, T, B, I, dtype=flat_RP.dtype)
    noisy = network.cell.type == "leaky"
    spec = LayerSpec(I, T, B, weights, to, carried=True, dx_RTBI=dx_RTBI, noisy=noisy, handed_on=True)
    layer: Layer
    if instruction_set is None:
        layer = make_layer(network.cell, spec, "workspace")
    else:
        layer = NativeLayer(spec, network.cell, instruction_set)
    generator = torch.Generator().manual_seed(4)
    filled = [layer.x_RTBI, *layer.initial.values(), *([layer.noise_RTBA] if spec.noisy else [])]
    for tensor in filled:
        tensor.copy_(torch.randn(tensor.shape, generator=generator))  # type: ignore[union-attr]
    layer.forward()
    h_RTBH, final = layer.h_RTBH.clone(), {name: state.clone() for name, state in layer.final.items()}
    for gradient in (layer.dh_RTBH, *layer.d_states.values()):
        gradient.copy_(torch.randn(gradient.shape, generator=generator))
    layer.backward()
    return [h_RTBH, *final.values(), dx_RTBI, gradient_RP, *(layer.d_initial[name] for name in final)]


@cache
def in_workspace(cell: str, shape: tuple[int, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    """From the parameters as `dtype` has them."""
    return passed(CELLS[cell], shape, dtype)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=["float64", "float32"])
def test_states_and_gradients_are_those_of_the_workspace(
    instruction_set: str, cell: str, shape: tuple[int, ...], threads: int, dtype: torch.dtype, most: float
):
    expected = in_workspace(cell, shape, dtype)
    torch.set_num_threads(threads)
    try:
        computed = passed(CELLS[cell], shape, dtype, usable(instruction_set))
    finally:
        torch.set_num_threads(1)
    assert [distance(a, b) for a, b in zip(computed, expected, strict=True)] == pytest.approx(
        [0] * len(expected), abs=most
    )


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_tanh_is_good_to_a_few_roundings_everywhere_and_never_leaves_its_range(instruction_set: str):
    x = torch.cat(
        [torch.linspace(-20, 20, 400_001), torch.logspace(-38, 0, 2_000), torch.tensor([torch.inf, -torch.inf])]
    )
    zero, one = torch.zeros(1, 1), torch.ones(1, 1, 1)
    weights = {"W_xh": one, "b_x": zero, "W_hh": torch.zeros(1, 1, 1), "b_h": zero}
    layer = NativeLayer(LayerSpec(1, 1, len(x), weights, None), VanillaCell(hidden_size=1), usable(instruction_set))
    layer.x_RTBI.copy_(x.view(1, 1, -1, 1))
    layer.forward()
    h, exact = layer.h_RTBH.flatten(), torch.tanh(x.double())
    assert float(h.abs().max()) <= 1.0
    at = exact != 0
    assert float(((h - exact)[at] / exact[at]).abs().max()) < 5e-7


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_softplus_and_its_slope_are_good_to_a_few_roundings_everywhere(instruction_set: str):
    x = torch.cat([torch.linspace(-80, 80, 400_001), torch.logspace(-30, 0, 2_000), torch.tensor([-1e30, 1e30])])
    zero, one = torch.zeros(1, 1), torch.ones(1, 1, 1)
    weights = {"W_xh": one, "b_x": zero, "W_hh": torch.zeros(1, 1, 1), "b_h": zero}
    slope_RTBI, gradients = torch.zeros(1, 1, len(x), 1), {name: torch.zeros_like(w) for name, w in weights.items()}
    spec = LayerSpec(1, 1, len(x), weights, gradients, dx_RTBI=slope_RTBI)
    layer = NativeLayer(spec, VanillaCell(hidden_size=1, activation="softplus"), usable(instruction_set))
    layer.x_RTBI.copy_(x.view(1, 1, -1, 1))
    layer.forward()
    layer.dh_RTBH.fill_(1.0)
    layer.backward()
    exact = torch.logaddexp(x.double(), torch.zeros(()).double())
    for found, expected in ((layer.h_RTBH, exact), (slope_RTBI, -torch.expm1(-layer.h_RTBH.double()).flatten())):
        at = expected > 1e-35
        assert float(((found.flatten() - expected)[at] / expected[at]).abs().max()) < 1e-6


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_what_is_not_a_number_stays_so_that_divergence_is_seen(cell: Any):
    network = Network(cell=cell(hidden_size=20), input_size=1, output_size=1)
    flat_RP = torch.from_numpy(parameters.initialise(network, 0, 2))
    parameters.views(flat_RP, network)["layers.0.W_hh"][1] = torch.nan
    bptt = BPTT(network, flat_RP, torch.zeros_like(flat_RP), 5, 3, engine="native")
    bptt.forward()
    assert torch.isfinite(bptt.loss_R[0])
    assert torch.isnan(bptt.loss_R[1])


def step(threads: int) -> list[bytes]:
    """Losses and gradients of one step of a network whose replicas threads have to share."""
    network = Network(cell=GRUCell(hidden_size=33), input_size=2, output_size=5)
    flat_RP = torch.from_numpy(parameters.initialise(network, 0, 3))
    torch.set_num_threads(threads)
    try:
        gradients_RP = torch.zeros_like(flat_RP)
        bptt = BPTT(network, flat_RP, gradients_RP, 12, 7, engine="native")
        for tensor in bptt.memory.all():
            tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)))
        bptt.forward()
        bptt.backward()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    return [bptt.loss_R.numpy().tobytes(), gradients_RP.numpy().tobytes()]


@pytest.mark.parametrize("threads", [1, 2, 4, 40])
def test_the_same_threads_give_the_same_bits_however_they_are_scheduled(threads: int):
    first = step(threads)
    assert all(step(threads) == first for _ in range(20))


def test_a_process_forked_after_the_kernel_has_run_can_run_it_too():
    script = """
import os
import torch
torch.set_num_threads(1)  # torch's own threads do not survive a fork
from rnn.cells.native import NativeLayer
from rnn.cells.layer import LayerSpec
from unroll.contract import VanillaCell
weights = {"W_xh": torch.ones(1, 4, 1), "W_hh": torch.eye(4)[None] / 2}
def states():
    layer = NativeLayer(LayerSpec(1, 9, 6, weights, None), VanillaCell(hidden_size=4), threads=3)
    layer.x_RTBI.fill_(0.1)
    layer.forward()
    return layer.h_RTBH.tolist()
first = states()
child = os.fork()
if child == 0:
    os._exit(0 if states() == first else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_without_the_library_the_workspace_runs_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    network = Network(cell=VanillaCell(hidden_size=4), input_size=1, output_size=1)
    assert environment.describe("cpu", network)["engine"].startswith(f"{kernels.VERSION}-{kernels.instruction_set()}")
    flat_RP = torch.from_numpy(parameters.initialise(network, 0, 1))
    assert isinstance(BPTT(network, flat_RP, None, 3, 2).layers[0], NativeLayer)
    monkeypatch.setattr(abi, "LIBRARY", tmp_path / "libunroll.so")
    abi.library.cache_clear()
    try:
        assert not isinstance(BPTT(network, flat_RP, None, 3, 2).layers[0], NativeLayer)
        assert environment.describe("cpu", network)["engine"].startswith(environment.ENGINE)
        with pytest.raises(OSError, match="not built"):
            BPTT(network, flat_RP, None, 3, 2, engine="native").forward()
    finally:
        abi.library.cache_clear()


def test_a_library_that_is_none_or_of_another_version_is_not_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    assert kernels.missing() == ""
    real = abi.LIBRARY
    text = tmp_path / "libunroll.so"
    text.write_text("no library")
    for library, version, reason in (
        (text, abi.VERSION, "cannot be loaded"),
        (real, "native-0", f"is {abi.VERSION}, the source native-0"),
        (tmp_path / "none.so", abi.VERSION, "was not built"),
    ):
        monkeypatch.setattr(abi, "LIBRARY", library)
        monkeypatch.setattr(abi, "VERSION", version)
        abi.library.cache_clear()
        try:
            assert not kernels.available()
            assert reason in kernels.missing()
        finally:
            abi.library.cache_clear()


def test_cells_the_kernel_lacks_and_double_precision_run_in_the_workspace():
    for cell, dtype in (
        (FeedForwardCell(hidden_size=4), np.float32),
        (VanillaCell(hidden_size=4), np.float64),
    ):
        network = Network(cell=cell, input_size=1, output_size=1)
        flat_RP = torch.from_numpy(parameters.initialise(network, 0, 1).astype(dtype))
        assert not isinstance(BPTT(network, flat_RP, None, 3, 2).layers[0], NativeLayer)
    with pytest.raises(ValueError, match="feedforward"):
        BPTT(
            Network(cell=FeedForwardCell(hidden_size=4), input_size=1, output_size=1),
            flat_RP,
            None,
            3,
            2,
            engine="native",
        )


def test_a_missing_or_failing_compiler_is_told_and_leaves_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    for named, reason in (("no-such-compiler", "no C"), ("false", "false")):
        monkeypatch.setenv("CXX", named)
        with pytest.raises(BuildError, match=reason):
            build(tmp_path / "libunroll.so")
    assert list(tmp_path.iterdir()) == []


def test_torch_gets_its_threads_back_even_after_a_mistake():
    torch.set_num_threads(2)
    try:
        with torch_alone():
            assert torch.get_num_threads() == 1
        with pytest.raises(KeyError), torch_alone():
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_layer_keeps_alive_the_readout_whose_addresses_the_kernel_has():
    network = VanillaCell(hidden_size=4)
    layer = NativeLayer(LayerSpec(1, 2, 3, {"W_xh": torch.ones(1, 4, 1), "W_hh": torch.eye(4)[None]}, None), network)
    weights = {"W_hy": torch.ones(1, 1, 4), "b_y": torch.zeros(1, 1)}
    kept = [weakref.ref(weight) for weight in weights.values()]
    layer.read_out(weights, None, torch.zeros(1, 2, 3, 1))
    del weights
    assert all(weight() is not None for weight in kept)
    layer.forward()
