"""What only Linux has is replaced by something else where it is missing, or is done without."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

import pytest

import api.cli
from api.cli import processes as supervised
from store import settings
from store.settings import Settings, machine_bytes
from tests.servers import processes as servers
from worker import failpoints, lifeline, trainer
from worker import processes as children


class WithoutPrctl:
    def __init__(self, _name: None) -> None:
        pass


def test_a_machine_that_does_not_tell_its_memory_sets_no_limit_to_jobs(monkeypatch: pytest.MonkeyPatch):
    assert (machine_bytes() or 0) > 2**28

    def unknown(_name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert machine_bytes() is None
    assert Settings().job_bytes is None
    monkeypatch.delattr(settings.os, "sysconf")
    assert machine_bytes() is None


def test_without_prctl_a_trainer_still_ignores_what_is_meant_for_its_supervisor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctypes, "CDLL", WithoutPrctl)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        lifeline.die_with_parent()
        assert [signal.getsignal(number) for number in before] == [signal.SIG_IGN, signal.SIG_IGN]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_without_proc_a_trainer_has_no_word_in_who_goes_first(monkeypatch: pytest.MonkeyPatch):
    def nothing(self: Path, *_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(self))

    monkeypatch.setattr(Path, "write_text", nothing)
    lifeline.first_to_go()


def test_without_pidfd_a_signal_goes_to_the_process_id(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(signal, "pidfd_send_signal", raising=False)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    lifeline.send(signal.SIGKILL, process.pid, 3)
    assert process.wait(10) == -signal.SIGKILL
    lifeline.send(signal.SIGKILL, process.pid, None)  # it has gone, which is what was wanted


@pytest.mark.parametrize(("module", "name"), [(signal, "SIGUSR1"), (faulthandler, "register")])
def test_without_its_signal_a_stuck_trainer_shows_no_stacks(monkeypatch: pytest.MonkeyPatch, module: object, name: str):
    monkeypatch.delattr(module, name)
    try:
        assert importlib.reload(trainer).SHOW_STACKS is None
    finally:
        monkeypatch.undo()
        assert importlib.reload(trainer).SHOW_STACKS == signal.SIGUSR1


def test_without_resource_the_fault_points_can_be_loaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert importlib.reload(failpoints).armed("any") is None


@pytest.fixture
def _blas() -> Iterator[None]:
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    yield
    os.environ.pop("OPENBLAS_NUM_THREADS", None)
    if before is not None:
        os.environ["OPENBLAS_NUM_THREADS"] = before


@pytest.mark.usefixtures("_blas")
def test_children_are_forked_on_linux_alone(monkeypatch: pytest.MonkeyPatch):
    assert isinstance(children.context(), ForkServerContext)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(children.context(), SpawnContext)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    monkeypatch.undo()
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    spawned = children.context()
    assert isinstance(spawned, SpawnContext)
    monkeypatch.delattr(children.forkserver, "ensure_running")
    children.warm(spawned)  # there is nothing to warm


def test_without_prctl_the_supervisor_names_itself_to_its_children(monkeypatch: pytest.MonkeyPatch):
    assert supervised.followed() == []
    monkeypatch.setattr(supervised, "_prctl", None)
    assert supervised.followed() == ["--parent", str(os.getpid())]


def test_on_windows_the_server_says_where_it_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        api.cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: unroll-server runs on Linux and macOS; on Windows run it in WSL (`wsl --install`)\n"
    )


def test_without_proc_the_tests_ask_ps_for_processes(monkeypatch: pytest.MonkeyPatch):
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env=os.environ | {"UNROLL_DATA_DIR": "/a place"}
    ) as process:
        try:
            monkeypatch.setattr(servers, "PROC", Path("/nowhere"))
            assert dict(servers.parents())[process.pid] == os.getpid()
            marked = servers.marked("UNROLL_DATA_DIR=/a place")
            assert "time.sleep(60)" in marked[process.pid]
            assert os.getpid() not in marked
        finally:
            process.kill()
