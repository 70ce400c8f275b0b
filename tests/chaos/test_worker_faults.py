"""Whatever is killed, stopped or taken away: a job ends with the bits and the curves of an undisturbed one."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time

import pytest

from store import jobs, leases
from tests.servers.processes import PROC
from tests.servers.worker import PATIENCE, TENANT, Fleet, WorkerProcess, alive, job

pytestmark = pytest.mark.chaos

STEPS = 10_000


def until_dead(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, pids
        time.sleep(0.01)


def test_a_killed_trainer_and_a_killed_forkserver_cost_only_what_came_after_the_last_checkpoint(fleet: Fleet) -> None:
    steps = 8000  # so that both find the job running
    worker = fleet.start()
    job_id = fleet.submit(job(steps))
    fleet.until_step(job_id, 700)
    os.kill(worker.trainer(), signal.SIGKILL)
    fleet.until(job_id, lambda now: now.attempt == 2)
    fleet.until_step(job_id, 1700)
    child, server = worker.trainer(), worker.forkserver()
    os.kill(server, signal.SIGKILL)
    until_dead([child, server])
    fleet.assert_ended_as_if_nothing_had_happened(job_id, steps)
    ended = fleet.get(job_id)
    assert (ended.attempt, ended.crashes) == (3, 0)  # each attempt made a checkpoint, so none counts any more
    assert fleet.count(job_id, "interrupted") == 2
    rewinds = [event.data for event in fleet.events(job_id) if event.type == "rewind"]
    assert {rewind["attempt"] for rewind in rewinds} <= {2, 3}  # none where a checkpoint was the last thing written
    assert all(rewind["to_step"] >= 400 for rewind in rewinds)


def test_a_killed_supervisor_takes_its_children_along_and_another_worker_goes_on(fleet: Fleet) -> None:
    first, second = fleet.start(), fleet.start()
    job_id = fleet.submit(job(STEPS))
    fleet.until_step(job_id, 700)
    owner = owner_of(fleet, job_id, first, second)
    family = owner.family()
    owner.kill()
    until_dead(family)
    fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
    assert fleet.get(job_id).attempt == 2


def until_stopped(pid: int) -> None:
    """A signal is sent before every thread has taken notice of it, and one may go on for a while on a busy machine."""
    deadline = time.monotonic() + PATIENCE
    while (PROC / str(pid)).is_dir():
        states = [file.read_text().rpartition(")")[2].split()[0] for file in (PROC / str(pid) / "task").glob("*/stat")]
        if set(states) <= {"T", "t"}:
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.005)


def stop_between_transactions(fleet: Fleet, worker: WorkerProcess) -> None:
    """SIGSTOP, outside a transaction: stopped inside one it keeps SQLite's one write lock, which nobody can take away.

    PostgreSQL ends such a transaction itself (tests/integration/store/test_fence.py).
    """
    while True:
        worker.signal(signal.SIGSTOP)
        until_stopped(worker.pid)
        if not fleet.settings.embedded:
            return
        with contextlib.closing(sqlite3.connect(fleet.settings.data_dir / "unroll.db", timeout=0.2)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                worker.signal(signal.SIGCONT)
            else:
                return


def test_a_supervisor_that_was_stopped_beyond_its_lease_writes_nothing_and_ends_its_trainer(fleet: Fleet) -> None:
    first, second = fleet.start(), fleet.start()
    job_id = fleet.submit(job(STEPS))
    fleet.until_step(job_id, 700)
    zombie = owner_of(fleet, job_id, first, second)
    trainer = zombie.trainer()
    stop_between_transactions(fleet, zombie)
    fleet.until(job_id, lambda now: now.attempt == 2)
    zombie.signal(signal.SIGCONT)
    until_dead([trainer])
    fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
    assert fleet.get(job_id).attempt == 2
    owners = [event.data["worker"] for event in fleet.events(job_id) if event.type == "started"]
    assert len(set(owners)) == 2
    # it is none the worse for it
    (first if zombie is second else second).drain()
    other = fleet.submit(job(500))
    assert fleet.until_ended(other).status == "succeeded"


def test_sigterm_checkpoints_gives_the_lease_back_and_counts_as_no_crash(fleet: Fleet) -> None:
    worker = fleet.start()
    job_id = fleet.submit(job(STEPS))
    fleet.until_step(job_id, 500)
    family = worker.family()
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGTERM)  # a service manager without patience
    seconds = worker.drain()
    assert seconds < fleet.settings.drain_seconds
    given_back = fleet.get(job_id)
    assert (given_back.status, given_back.attempt, given_back.crashes) == ("queued", 1, 0)
    assert fleet.events(job_id)[-1].data == {"reason": "drained"}
    assert 500 <= given_back.progress.step < STEPS
    until_dead(family)
    fleet.start()
    fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
    assert fleet.count(job_id, "rewind") == 0  # not one step was lost


def test_ctrl_c_means_what_sigterm_means(fleet: Fleet) -> None:
    worker = fleet.start()
    job_id = fleet.submit(job(1_000_000))
    fleet.until_step(job_id, 100)
    for pid in [worker.pid, *worker.family()]:  # a terminal sends it to all of them
        with contextlib.suppress(ProcessLookupError):  # the supervisor may have ended its child meanwhile
            os.kill(pid, signal.SIGINT)
    assert worker.process.wait(PATIENCE) == 0
    assert fleet.get(job_id).status == "queued"
    assert fleet.get(job_id).crashes == 0


def test_a_paused_job_survives_a_restart_of_everything(fleet: Fleet) -> None:
    worker = fleet.start()
    job_id = fleet.submit(job(STEPS))
    fleet.until_step(job_id, 500)
    jobs.pause(fleet.db, TENANT, job_id)
    worker.signal(signal.SIGTERM)  # at the same moment
    worker.process.wait(PATIENCE)
    assert fleet.get(job_id).status == "paused"
    fleet.db.close()
    fleet.start()
    time.sleep(1.0)
    assert fleet.get(job_id).status == "paused"
    jobs.resume(fleet.db, TENANT, job_id)
    fleet.bell.ring(job_id, "auto")
    fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
    assert fleet.get(job_id).attempt == 2


def test_a_job_whose_ring_was_lost_runs_all_the_same(fleet: Fleet) -> None:
    fleet.start()
    silent = job(500)
    stored, _ = jobs.submit(fleet.db, TENANT, "key", fleet.checked(silent))
    fleet.assert_ended_as_if_nothing_had_happened(stored.id, 500)


def test_two_workers_share_many_jobs_and_each_is_trained_once(fleet: Fleet) -> None:
    fleet.start(), fleet.start()
    submitted = [fleet.submit(job(300)) for _ in range(12)]
    for job_id in submitted:
        fleet.assert_ended_as_if_nothing_had_happened(job_id, 300)
        assert fleet.get(job_id).attempt == 1
    workers = {
        event.data["worker"] for job_id in submitted for event in fleet.events(job_id) if event.type == "started"
    }
    assert len(workers) == 2


def owner_of(fleet: Fleet, job_id: str, *workers: WorkerProcess) -> WorkerProcess:
    """The worker that holds the job's lease."""
    with fleet.db.read() as tx:
        owner = tx.execute(leases.select(leases.jobs.c.lease_owner).where(leases.jobs.c.id == job_id)).scalar_one()
    (found,) = [worker for worker in workers if f"-{worker.pid}-" in owner]
    return found
