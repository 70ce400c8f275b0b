"""Rows of docs/reliability.md in which workers and trainers are killed, stopped and doubled."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

import pytest
from sqlalchemy import text

from store import jobs, leases
from store.errors import InvalidTransition, LeaseLost
from tests.chaos.rows.conftest import Row
from tests.chaos.test_worker_faults import owner_of, stop_between_transactions, until_dead
from tests.integration.store import factories
from tests.servers.deployment import Deployment
from tests.servers.worker import TENANT, Fleet, WorkerProcess, fleet_on, job

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

RowOf = Callable[[str, Deployment], Row]
STEPS = 6000
LEASE = 4.0
"""Long enough for a worker that gets a tenth of a busy machine."""
FAILPOINTS = "kill@50/poison,hang@50/hanging,memory@0/hungry"


def p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


def owner(fleet: Fleet, job_id: str, workers: list[WorkerProcess]) -> WorkerProcess | None:
    """The worker that holds the job now, if one does."""
    try:
        return owner_of(fleet, job_id, *workers)
    except (TypeError, ValueError):  # nobody, or one that was killed
        return None


def test_killed(row_of: RowOf, deployment: Deployment, tmp_path: Path, chance: random.Random) -> None:
    row = row_of("killed", deployment)
    wanted, killed, trained = row.times(60), {"trainer": 0, "worker": 0}, 0
    with fleet_on(deployment, tmp_path, lease_seconds=LEASE, max_crashes=1000) as fleet:
        workers = [fleet.start(), fleet.start()]
        while sum(killed.values()) < wanted:
            job_id = fleet.submit(job(STEPS))
            for step in sorted(chance.randrange(1, STEPS) for _ in range(3)):
                now = fleet.until(job_id, lambda now, step=step: now.progress.step >= step or now.ended_at is not None)
                holder = owner(fleet, job_id, workers)
                if now.ended_at is not None or holder is None:
                    continue
                if chance.random() < 0.7:
                    os.kill(holder.trainer(), signal.SIGKILL)
                    killed["trainer"] += 1
                else:
                    holder.kill()
                    workers[workers.index(holder)] = fleet.start()
                    killed["worker"] += 1
            fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
            trained += 1
    row.found(
        f"{killed['trainer']} trainers and {killed['worker']} workers killed under {trained} jobs: lost 0, doubled "
        "metrics 0, SHA-256 equal each time"
    )


def test_doubled(row_of: RowOf, deployment: Deployment, tmp_path: Path) -> None:
    row = row_of("doubled", deployment)
    count = row.times(40)
    with fleet_on(deployment, tmp_path, lease_seconds=10.0) as fleet:
        for _ in range(4):
            fleet.start()
        submitted = [fleet.submit(job(300), rings=10) for _ in range(count)]
        for job_id in submitted:
            fleet.assert_ended_as_if_nothing_had_happened(job_id, 300)
            assert fleet.get(job_id).attempt == 1
            assert fleet.count(job_id, "started") == 1
    row.found(f"{count} jobs, {10 * count} messages: second attempts 0")


def test_zombie(row_of: RowOf, deployment: Deployment, tmp_path: Path) -> None:
    row = row_of("zombie", deployment)
    stopped, stale = row.times(5), row.times(100)
    with fleet_on(deployment, tmp_path, lease_seconds=LEASE) as fleet:
        workers = [fleet.start(), fleet.start()]
        for _ in range(stopped):
            job_id = fleet.submit(job(STEPS))
            fleet.until_step(job_id, 700)
            zombie = owner_of(fleet, job_id, *workers)
            trainer = zombie.trainer()
            stop_between_transactions(fleet, zombie)
            fleet.until(job_id, lambda now: now.attempt == 2)
            zombie.signal(signal.SIGCONT)
            until_dead([trainer])
            fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
            assert fleet.get(job_id).attempt == 2
        for worker in workers:
            worker.drain()
        db = fleet.db
        for _ in range(stale):
            factories.submit(db)
            lease = factories.claim(db)
            factories.train(lease, 1, 10, checkpointed=True)
            successor = factories.take_over(db, lease)
            before = [factories.count(db, table) for table in ("metric_blocks", "checkpoints", "events")]
            with pytest.raises(LeaseLost):
                factories.train(lease, 11, 20, checkpointed=True)
            assert [factories.count(db, table) for table in ("metric_blocks", "checkpoints", "events")] == before
            leases.end(successor, "succeeded")
    row.found(f"{stopped} workers stopped beyond their lease, {stale} stale writes: stale rows 0")


def test_sigterm(row_of: RowOf, deployment: Deployment, tmp_path: Path, chance: random.Random) -> None:
    row = row_of("sigterm", deployment)
    count, drains, repeated = row.times(15), [], 0
    with fleet_on(deployment, tmp_path, lease_seconds=10.0) as fleet:
        job_id, done = "", True
        for _ in range(count):
            worker = fleet.start()
            if done:
                job_id = fleet.submit(job(50_000))
            begin = fleet.until(job_id, lambda now: now.status == "running").progress.step
            reached = fleet.until_step(job_id, begin + chance.randrange(1, 3000))
            drains.append(worker.drain())
            now = fleet.get(job_id)
            assert (now.status, now.crashes) == ("queued", 0)
            assert now.progress.step >= reached.progress.step
            repeated += fleet.count(job_id, "rewind")
            done = now.progress.step > 40_000
        assert repeated == 0
        assert max(drains) < fleet.settings.drain_seconds
    row.found(f"{count} moments: longest drain {max(drains):.2f} s, steps repeated 0")


def test_cancel(row_of: RowOf, deployment: Deployment, tmp_path: Path, chance: random.Random) -> None:
    row = row_of("cancel", deployment)
    count, ends, stopping = row.times(200), {"succeeded": 0, "cancelled": 0}, []
    with fleet_on(deployment, tmp_path, lease_seconds=10.0) as fleet:
        fleet.start()
        for _ in range(count):
            job_id = fleet.submit(job(chance.randrange(20, 1000)))
            if chance.random() < 0.5:  # as it starts, or as it ends
                fleet.until(job_id, lambda now: now.status != "queued")
            else:
                fleet.until(job_id, lambda now: now.progress.step > 0 or now.ended_at is not None)
            time.sleep(chance.uniform(0.0, 0.3))
            with contextlib.suppress(InvalidTransition):
                jobs.cancel(fleet.db, TENANT, job_id)
                begin = time.monotonic()
                running = fleet.get(job_id).ended_at is None
                fleet.until_ended(job_id)
                if running:
                    stopping.append(time.monotonic() - begin)
            ended = fleet.until_ended(job_id)
            found = fleet.events(job_id)
            assert [event.type for event in found].count("end") == 1
            assert found[-1].data["status"] == ended.status
            assert ended.status == "cancelled" or ended.progress.step == ended.progress.total
            ends[ended.status] += 1
    told = f", p99 of stopping {1000 * p99(stopping):.0f} ms" if stopping else ""
    row.found(f"{count} races, {ends['cancelled']} cancelled and {ends['succeeded']} succeeded: contradictions 0{told}")


def test_poison(row_of: RowOf, deployment: Deployment, tmp_path: Path) -> None:
    row = row_of("poison", deployment)
    rounds = row.times(3)
    large = {"hidden_size": 1000}
    with fleet_on(deployment, tmp_path, lease_seconds=10.0, stall_seconds=2.5) as fleet:
        fleet.start(FAILPOINTS)
        for _ in range(rounds):
            poisons = {
                "crashed": (3, fleet.submit(job(name="poison"))),
                "stalled": (3, fleet.submit(job(name="hanging"))),
                "out_of_memory": (
                    1,
                    fleet.submit(
                        job(3, name="hungry", batch_size=2, replicas=8, cell=large, held_out={"size": 2, "seed": 0})
                    ),
                ),
            }
            other = fleet.submit(job(500))
            for code, (attempts, job_id) in poisons.items():
                ended = fleet.until_ended(job_id)
                assert ended.error is not None
                assert (ended.status, ended.error.code, ended.attempt) == ("failed", code, attempts)
            fleet.assert_ended_as_if_nothing_had_happened(other, 500)
    row.found(f"{3 * rounds} such jobs: each failed after exactly its attempts, with its cause; {rounds} others ended")


CLOCK = """
import os, time, datetime
shift = float(os.environ["TESTS_CLOCK"])
real, real_ns, real_datetime = time.time, time.time_ns, datetime.datetime
time.time = lambda: real() + shift
time.time_ns = lambda: real_ns() + int(shift * 1e9)
"""


def test_clock(row_of: RowOf, deployment: Deployment, tmp_path: Path) -> None:
    row = row_of("clock", deployment)
    rounds, folder = row.times(4), tmp_path / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    with fleet_on(deployment, tmp_path, lease_seconds=LEASE) as fleet:
        env = fleet.deployment.env
        path = f"{folder}{os.pathsep}{env['PYTHONPATH']}"
        for shift in (3600, -3600):
            fleet.deployment.__dict__["env"] = env | {"PYTHONPATH": path, "TESTS_CLOCK": str(shift)}
            fleet.start()
        for _ in range(rounds):
            together = [fleet.submit(job(3000)) for _ in range(2)]  # one for each clock
            for job_id in together:
                fleet.assert_ended_as_if_nothing_had_happened(job_id, 3000)
                assert fleet.get(job_id).attempt == 1
    row.found(f"{2 * rounds} jobs on two workers, an hour ahead and behind, which also judge leases: early takeovers 0")


def test_migration(row_of: RowOf, deployment: Deployment, tmp_path: Path) -> None:
    row = row_of("migration", deployment)
    rounds = row.times(3)
    with fleet_on(deployment, tmp_path, lease_seconds=4.0) as fleet:
        fleet.start()
        for number in range(rounds):
            job_id = fleet.submit(job(3000))
            fleet.until_step(job_id, 300)
            with fleet.db.begin() as tx:  # what the next version might add
                tx.execute(text(f"ALTER TABLE jobs ADD COLUMN later_{number} INTEGER NOT NULL DEFAULT 0"))
                tx.execute(text(f"CREATE TABLE later_{number} AS SELECT * FROM events"))
                tx.execute(text(f"CREATE INDEX later_index_{number} ON jobs (later_{number})"))
                time.sleep(1.0)  # as long as a large table takes: the job's row is locked meanwhile
            fleet.assert_ended_as_if_nothing_had_happened(job_id, 3000)
            assert fleet.get(job_id).attempt == 1
    row.found(f"{rounds} upgrades of a second each under a running job: failures 0")


def test_sleep(row_of: RowOf, deployment: Deployment, tmp_path: Path) -> None:
    row = row_of("sleep", deployment)
    rounds = row.times(4)
    with fleet_on(deployment, tmp_path, lease_seconds=LEASE) as fleet:
        workers = [fleet.start(), fleet.start()]
        for _ in range(rounds):
            job_id = fleet.submit(job(STEPS))
            fleet.until_step(job_id, 700)
            for worker in workers:
                stop_between_transactions(fleet, worker)
            everybody = [pid for worker in workers for pid in worker.family()]
            for pid in everybody:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(2 * LEASE)
            for pid in [*everybody, *(worker.pid for worker in workers)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
            ended = fleet.get(job_id)
            assert (ended.attempt, ended.crashes) == (1, 0)
    row.found(f"{rounds} sleeps of twice a lease: same attempt, crashes 0, SHA-256 equal")
