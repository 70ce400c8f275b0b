"""The thread beside a worker: what it takes back, and what it leaves alone because it slept itself."""

from __future__ import annotations

import time

from sqlalchemy import text

from store import fleet, jobs, leases, recovery
from store.db import Database
from store.leases import Report
from store.settings import Settings
from tests.integration.store.factories import TENANT, claim, expire_lease, submit
from tests.servers.deployment import configure
from worker.reconciler import Reconciler

PATIENCE = 60.0
LEASE = 1.0


class Bell:
    """A doorbell that remembers who rang."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, job_id: str, _device: str) -> None:
        self.rung.append(job_id)


def reconciler(settings: Settings, db: Database, bell: Bell) -> Reconciler:
    quick = configure(settings, lease_seconds=LEASE, reconcile_seconds=1000)
    return Reconciler(quick, db, "w2", bell, lambda: None)  # type: ignore[arg-type]


def test_a_reconciler_that_slept_lets_workers_renew_first_and_then_takes_back_what_nobody_renewed(
    settings: Settings, db: Database
) -> None:
    bell = Bell()
    job, watching = submit(db), reconciler(settings, db, bell)
    lease = claim(db)
    watching.reconcile()
    time.sleep(0.8 * LEASE)
    expire_lease(db, job.id)
    watching.reconcile()  # the first round after the sleep
    assert jobs.get(db, TENANT, job.id).status == "running"
    assert leases.report(lease, Report(step=1)) is None
    expire_lease(db, job.id)
    woke = time.monotonic()
    while jobs.get(db, TENANT, job.id).status == "running":
        assert time.monotonic() - woke < PATIENCE
        time.sleep(0.05)
        watching.reconcile()
    assert time.monotonic() - woke > 0.5 * LEASE
    found = jobs.get(db, TENANT, job.id)
    assert (found.status, found.attempt, found.crashes) == ("queued", 1, 1)
    assert job.id in bell.rung


def test_what_expires_between_the_look_and_the_judgement_is_not_taken_back(db: Database) -> None:
    fleet.enlist(db, "w2", "host", 1, "cpu", "0.1")
    job = submit(db)
    claim(db, seconds=0.01)
    looked = fleet.seen(db, "w2", None)
    assert looked is not None
    with db.begin() as tx:
        tx.execute(text("UPDATE jobs SET lease_expires = :at"), {"at": looked + 0.001})
    time.sleep(0.05)
    assert recovery.expire(db, 3, looked) == []
    assert [waiting.job_id for waiting in recovery.expire(db, 3)] == [job.id]


def test_a_worker_that_others_have_forgotten_while_it_slept_is_listed_again(settings: Settings, db: Database) -> None:
    watching = reconciler(settings, db, Bell())
    watching.reconcile()
    fleet.dismiss(db, "w2")
    watching.reconcile()
    assert [worker.id for worker in fleet.list_workers(db, TENANT, 1e9)] == ["w2"]


def test_what_a_dead_worker_held_is_taken_back_at_once_and_what_others_hold_is_not(db: Database) -> None:
    first, second = submit(db), submit(db)
    claim(db, "w1")
    claim(db, "w2")
    assert [waiting.job_id for waiting in recovery.take_back(db, "w1", "killed by SIGKILL", 3)] == [first.id]
    assert recovery.take_back(db, "w1", "killed by SIGKILL", 3) == []
    assert (jobs.get(db, TENANT, first.id).crashes, jobs.get(db, TENANT, second.id).status) == (1, "running")


def test_a_job_that_kills_its_worker_again_and_again_fails_although_it_is_handed_back_at_once(db: Database) -> None:
    poison = submit(db)
    for _ in range(3):
        claim(db, "w1")
        recovery.take_back(db, "w1", "killed by SIGKILL", 3)
    ended = jobs.get(db, TENANT, poison.id)
    assert (ended.status, ended.attempt, ended.crashes) == ("failed", 3, 3)
    assert ended.error is not None
    assert ended.error.message == "Worker w1 ended: killed by SIGKILL."
