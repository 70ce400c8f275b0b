"""Everything sleeps for longer than a lease and than a stall, as under a laptop's lid, in a paused container, or in a
snapshot of a virtual machine: the same attempt goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.deployment import Deployment
from tests.servers.up import embedded, family, up
from tests.servers.worker import Fleet, WorkerProcess, fleet_on, job, reference_sha256

pytestmark = pytest.mark.chaos

LEASE = 3.0
ASLEEP = 5.0
STEPS = 40_000
"""So many that the job sleeps often enough before it ends."""
NAPS = 3


def sleep(pids: Callable[[], list[int]]) -> None:
    """Stop all processes, let time pass, and wake them."""
    stopped: list[int] = []
    while fresh := [pid for pid in pids() if pid not in stopped]:  # one that was being started meanwhile
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped += fresh
    time.sleep(ASLEEP)
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def of_all(*workers: WorkerProcess) -> Callable[[], list[int]]:
    return lambda: [pid for worker in workers for pid in (worker.pid, *worker.family())]


def test_workers_that_all_slept_go_on_as_if_nothing_had_happened(deployment: Deployment, tmp_path: Path) -> None:
    with fleet_on(deployment, tmp_path, lease_seconds=LEASE, stall_seconds=ASLEEP - 1) as fleet:
        workers = [fleet.start() for _ in range(2)]
        job_id = fleet.submit(job(STEPS))
        for nap in range(NAPS):
            seen = fleet.until_step(job_id, fleet.get(job_id).progress.step + 500)
            assert seen.status == "running", "the job is too short"
            sleep(of_all(*workers))
            assert_same_attempt(fleet, job_id, nap)
        woke = time.monotonic()
        while time.monotonic() - woke < LEASE + 1:  # until the workers judge again
            time.sleep(0.1)
            assert_same_attempt(fleet, job_id, NAPS)
        fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
        assert_same_attempt(fleet, job_id, NAPS)


def assert_same_attempt(fleet: Fleet, job_id: str, nap: int) -> None:
    found = fleet.get(job_id)
    assert (found.attempt, found.crashes, fleet.count(job_id, "interrupted")) == (1, 0, 0), f"nap {nap}: {found}"


def test_a_worker_that_dies_asleep_is_found_by_those_who_wake(deployment: Deployment, tmp_path: Path) -> None:
    steps = 20_000
    with fleet_on(deployment, tmp_path, lease_seconds=LEASE) as fleet:
        first, second = fleet.start(), fleet.start()
        job_id = fleet.submit(job(steps))
        fleet.until_step(job_id, 700)
        (owner,) = [event.data["worker"] for event in fleet.events(job_id) if event.type == "started"]
        dead = first if f"-{first.pid}-" in owner else second

        def but_one_dies() -> list[int]:
            dead.signal(signal.SIGKILL)
            return of_all(first, second)()

        sleep(but_one_dies)
        fleet.until(job_id, lambda now: now.attempt == 2)
        fleet.assert_ended_as_if_nothing_had_happened(job_id, steps)


def test_all_under_up_sleeps_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    env = embedded(folder, workers="2", lease_seconds=str(LEASE), stall_seconds=str(ASLEEP - 1))
    with up(folder, env) as service, service.client() as client:
        handle = client.submit(job(STEPS))

        def step() -> int:
            return handle.refresh().progress.step

        for _ in range(NAPS):
            goal = step() + 500
            until(lambda: step() >= goal)  # noqa: B023 - called before the next goal
            assert handle.refresh().status == "running", "the job is too short"
            sleep(lambda: list(family(folder)))
            assert (handle.refresh().attempt, handle.refresh().crashes) == (1, 0)
        time.sleep(LEASE + 1)  # until the workers judge again
        until(lambda: handle.refresh().status == "succeeded")
        assert (handle.refresh().attempt, handle.refresh().crashes) == (1, 0)
        assert next(iter(handle.checkpoints())).sha256 == reference_sha256(STEPS)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
