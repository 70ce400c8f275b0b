"""A worker that cannot work says why and ends; one that only seemed unable to works."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from store.settings import Settings
from tests.servers.deployment import Deployment
from tests.servers.up import embedded, run, wait_until_gone
from tests.servers.worker import WorkerProcess


def test_a_worker_without_its_gpu_does_not_start_so_that_it_cannot_fail_other_peoples_jobs(tmp_path: Path) -> None:
    env = embedded(tmp_path / "data", device="cuda") | {"CUDA_VISIBLE_DEVICES": ""}
    assert run(env, "migrate").returncode == 0
    answer = run(env, "worker", timeout=120)
    assert answer.returncode == 2
    assert answer.stderr == (
        "error: UNROLL_DEVICE=cuda, but torch sees no CUDA device; without this variable the worker trains on the CPU, "
        "and `unroll-server doctor` tells which torch is installed\n"
    )


def test_up_passes_on_why_its_worker_cannot_load_its_libraries_and_announces_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None\n")
    folder = tmp_path / "data"
    env = embedded(folder, log_level="warning")
    env |= {"PYTHONPATH": os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])}
    answer = run(env, "up", timeout=120)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.splitlines() == [
        "error: A trainer cannot load its libraries: import of torch halted; None in sys.modules",
        "error: Worker 1 cannot work (exit code 2); the reason is above.",
    ]
    assert wait_until_gone(folder) == {}


def test_a_worker_works_where_the_folder_for_temporary_files_is_too_long_for_a_socket(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(request.getfixturevalue("_migrated_file"), tmp_path / "unroll.db")
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    worker = WorkerProcess(Deployment("embedded", Settings(data_dir=tmp_path, secret="a secret")), tmp_path)
    try:
        worker.wait_ready()  # it has a trainer
        assert worker.drain() > 0
    finally:
        worker.process.kill()
        worker.process.wait()
