"""What a CUDA graph needs of the passes, tested without a GPU.

Recording: a tape of torch's operations stands in for a graph; like a graph it holds operations on memory, no Python.
Audit: on the `meta` device, which like a GPU is not the CPU, every operation must stay on the device and never ask for
a number: that would be a synchronisation, which ends a capture.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rnn.bptt.cuda_graphs import CaptureError, Passes
from rnn.cells import activations
from rnn.cells.facts import LayerEngine
from tests.unit.rnn.passes import CELLS, RUNS, drawn, made

CPU = torch.device("cpu")


class Tape(TorchDispatchMode):
    """Operations and the memory they worked on."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._operations.append((func, args, kwargs or {}, out))
        return out

    def __len__(self) -> int:
        return len(self._operations)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self._operations:
            for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Recorder:
    """Warms up and records as CUDA's does."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def __call__(self, calls: Sequence[Callable[[], None]]) -> list[Callable[[], None]]:
        for call in calls:
            call()
        for call in calls:
            with Tape() as tape:
                call()
            self.tapes.append(tape)
        return [tape.replay for tape in self.tapes]


class Audit(TorchDispatchMode):
    """Refuses what a stream that is being captured refuses."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                # A number is passed to a kernel by value.
                assert tensor.ndim == 0, f"{func} works on host memory"
                assert "copy" not in str(func), f"{func} copies from the host"
        return out


@pytest.fixture
def _torch_computes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU; on CPU it is NumPy, which no tape sees. Nor does one see what oneDNN's LSTM keeps for itself."""
    original = activations.in_place
    monkeypatch.setattr(activations, "in_place", lambda f, a: a.tanh_ if f == "tanh" else original(f, a))
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


@pytest.mark.usefixtures("_torch_computes_everything")
@pytest.mark.parametrize(("cell", "engine", "replicas", "kind"), RUNS)
def test_replayed_passes_give_the_bits_of_the_passes_themselves(
    cell: Any, engine: LayerEngine, replicas: int, kind: dict[str, Any]
):
    recorder = Recorder()
    runs = [made(cell, engine, replicas, kind) for _ in range(2)]
    passes = [Passes(runs[0][0], CPU), Passes(runs[1][0], CPU, record=recorder)]
    assert [each.replayed for each in passes] == [False, True]
    assert all(len(tape) for tape in recorder.tapes)
    random = torch.Generator().manual_seed(3)
    before = torch.zeros(replicas)
    for step in range(3):
        values = drawn(runs[0][0], kind, step)
        moved = torch.rand(runs[0][1].shape, generator=random) * 0.01
        for (bptt, flat_RP, gradients_RP), each in zip(runs, passes, strict=True):
            flat_RP.add_(moved)
            for memory, numbers in zip(bptt.memory.all(), values, strict=True):
                memory.copy_(numbers)
            gradients_RP.fill_(torch.nan)
            each.forward()
            each.backward()
        (one, _, expected), (other, _, found) = runs
        assert torch.equal(one.loss_R, other.loss_R), step
        assert torch.equal(one.penalty_R, other.penalty_R), step
        assert torch.equal(expected, found), step
        assert not torch.equal(one.loss_R, before), "the batches differ, so must the losses"
        before = one.loss_R.clone()


@pytest.mark.parametrize(("cell", "engine", "replicas", "kind"), RUNS)
def test_passes_touch_no_host_memory_and_ask_for_no_number(
    cell: Any, engine: LayerEngine, replicas: int, kind: dict[str, Any]
):
    bptt, _, _ = made(cell, engine, replicas, kind, "meta")
    assert bptt.x_RTBI.device.type == "meta"
    with Audit():
        bptt.forward()
        bptt.backward()


def test_the_audit_notices_what_a_capture_refuses():
    memory = torch.zeros(2, device="meta")
    with Audit():
        memory.add_(1.5)
        with pytest.raises(AssertionError, match="host"):
            memory.copy_(torch.ones(2))
        with pytest.raises(AssertionError, match="host"):
            memory.copy_(torch.tensor(1.0))
        with pytest.raises((RuntimeError, NotImplementedError)):
            float(memory.sum())


def test_passes_that_cannot_be_recorded_run_all_the_same_and_say_why():
    bptt, _, gradients_RP = made(CELLS[0], "workspace", 1, {})

    def refuse(_: Any) -> Any:
        raise CaptureError("operation not permitted when stream is capturing")

    with pytest.warns(RuntimeWarning, match="not permitted"):
        passes = Passes(bptt, CPU, record=refuse)
    assert passes.failure == "operation not permitted when stream is capturing"
    assert not passes.replayed
    bptt.x_RTBI.fill_(1.0)
    passes.forward()
    passes.backward()
    assert np.all(bptt.loss_R.numpy() > 0)
    assert gradients_RP.abs().sum() > 0


def test_an_error_of_the_pass_itself_is_no_refusal():
    def broken(_: Any) -> Any:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Passes(made(CELLS[0], "workspace", 1, {})[0], CPU, record=broken)


@pytest.fixture
def _pretended_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs as a GPU has them, of nothing: what they hold on to is Python's business alone."""
    nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    stream = SimpleNamespace(wait_stream=nothing)
    for name in ("synchronize", "empty_cache", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, nothing)
    for name in ("device", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, **__: nullcontext())
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: stream)
    graph = SimpleNamespace(capture_begin=nothing, capture_end=nothing, replay=nothing)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(**vars(graph)))


@pytest.mark.usefixtures("_pretended_cuda")
def test_a_recorded_pass_keeps_the_memory_of_its_engine_and_gives_it_up_with_itself():
    bptt, flat_RP, gradients_RP = made(CELLS[0], "workspace", 1, {})
    memory = [weakref.ref(bptt), weakref.ref(bptt.loss_R)]
    forward = Passes(bptt, torch.device("cuda")).forward  # the rest of it goes, as in an evaluation
    del bptt, flat_RP, gradients_RP
    gc.collect()
    assert all(one() is not None for one in memory)
    forward()
    del forward
    gc.collect()
    assert all(one() is None for one in memory)


@pytest.mark.usefixtures("_pretended_cuda")
def test_the_recorded_peer_of_the_gpu_benchmark_lives_as_long_as_its_graph(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "bench"))
    import gpu_peers
    from step import SHAPES

    def trained(*_: Any, **__: Any) -> Callable[[], None]:
        def step() -> None:
            """Hold a model, its data and an optimiser."""

        trainings.append(weakref.ref(step))
        return step

    trainings: list[Any] = []
    monkeypatch.setattr(gpu_peers, "_trained", trained)
    replay = gpu_peers.recorded(SHAPES[0], CPU)
    gc.collect()
    assert trainings[0]() is not None
    replay()
    del replay
    gc.collect()
    assert trainings[0]() is None
