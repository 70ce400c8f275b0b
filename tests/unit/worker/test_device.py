"""What a trainer does before a job comes: open its device, within a bound, and say that it is ready."""

from __future__ import annotations

import sys
from multiprocessing import Pipe
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import worker
from rnn.bptt import cuda
from rnn.training import run
from worker import trainer
from worker.device import NoDevice, open_device
from worker.messages import Place, Ready, Unfit

GIB = 1 << 30


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A pretended GPU of 4 GiB, and what is done to it, in order."""
    done: list[Any] = []
    properties = SimpleNamespace(total_memory=4 * GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", done.append)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("emptied"))
    monkeypatch.setattr(cuda, "prepare", lambda *, tf32: done.append(("prepared", tf32)))
    monkeypatch.setattr(run, "warm_up", lambda where, *, tf32: done.append(("warm", where, tf32)))
    return done


def test_the_warm_up_is_bounded_and_the_job_is_not(gpu: list[Any]):
    open_device("cuda", tf32=True, warm_bytes=GIB)
    assert gpu == [("prepared", True), 0.25, ("warm", "cuda", True), "emptied", 1.0]


def test_a_bound_beyond_the_memory_is_all_of_it_and_none_opens_nothing(gpu: list[Any]):
    open_device("cuda", tf32=False, warm_bytes=64 * GIB)
    assert gpu[1] == 1.0
    gpu.clear()
    open_device("cuda", tf32=False, warm_bytes=0)
    open_device("cpu", tf32=False, warm_bytes=GIB)
    assert gpu == []


def test_a_bound_that_is_too_small_leaves_the_trainer_cold_but_fit(gpu: list[Any], monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no memory within the fraction")

    monkeypatch.setattr(run, "warm_up", full)
    open_device("cuda", tf32=False, warm_bytes=1)
    assert gpu[-2:] == ["emptied", 1.0]


def test_a_gpu_that_is_not_there_is_no_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NoDevice, match="UNROLL_DEVICE=cuda, but torch sees no CUDA device"):
        open_device("cuda", tf32=False, warm_bytes=GIB)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (None, Ready()),
        (NoDevice("no CUDA device"), Unfit("no CUDA device", ever=True)),
        (ImportError("libcudnn.so"), Unfit("A trainer cannot load its libraries: libcudnn.so", ever=True)),
        (RuntimeError("Xid 79"), Unfit("A trainer cannot open its device: RuntimeError: Xid 79", ever=False)),
    ],
)
def test_a_trainer_says_before_its_assignment_whether_it_can_run_it(
    fault: Exception | None, said: Ready | Unfit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    opened: list[Any] = []

    def open_it(*where: Any, **how: Any) -> None:
        opened.append((*where, how))
        if fault is not None:
            raise fault

    for name in ("_write_output_to", "_keep_temporary_files_in"):
        monkeypatch.setattr(trainer, name, lambda _: None)
    for name in ("die_with_parent", "first_to_go"):
        monkeypatch.setattr(trainer.lifeline, name, lambda: None)
    monkeypatch.setitem(sys.modules, "worker.forkserver", ModuleType("worker.forkserver"))
    monkeypatch.setattr(worker, "forkserver", None, raising=False)
    monkeypatch.setattr(trainer, "open_device", open_it)
    ours, events = Pipe(duplex=False)
    control, theirs = Pipe(duplex=False)
    theirs.close()  # no assignment comes
    trainer.main(events, control, str(tmp_path / "log"), Place("cuda", tf32=True, warm_bytes=5))
    assert ours.recv() == said
    assert opened == [("cuda", {"tf32": True, "warm_bytes": 5})]
