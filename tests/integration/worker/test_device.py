"""A worker whose device is not there."""

from __future__ import annotations

from pathlib import Path

from tests.servers.up import embedded, run


def test_a_worker_without_its_gpu_does_not_start_so_that_it_cannot_fail_other_peoples_jobs(tmp_path: Path) -> None:
    env = embedded(tmp_path / "data", device="cuda") | {"CUDA_VISIBLE_DEVICES": ""}
    assert run(env, "migrate").returncode == 0
    answer = run(env, "worker", timeout=120)
    assert answer.returncode == 2
    assert answer.stderr == (
        "error: UNROLL_DEVICE=cuda, but torch sees no CUDA device; without this variable the worker trains on the CPU, "
        "and `unroll-server doctor` tells which torch is installed\n"
    )
