"""Which job a worker gets, and that no other gets it too."""

from __future__ import annotations

import threading
import time

from store import jobs, leases, recovery
from store.db import Database
from store.tables import jobs as rows
from tests.integration.store.factories import TENANT, at_once, claim, submit


def test_many_workers_claim_each_job_exactly_once(db: Database):
    submitted = {submit(db).id for _ in range(40)}
    claimed: list[tuple[str, str]] = []
    lock = threading.Lock()

    def work(worker: str) -> None:
        while len(claimed) < 40:  # None only says that at this moment others held what there was
            lease = leases.claim(db, worker, "cpu", 60.0)
            if lease is not None:
                with lock:
                    claimed.append((lease.job_id, worker))

    assert at_once([lambda name=f"w{i}": work(name) for i in range(8)]) == [None] * 8
    assert len(claimed) == 40
    assert {job for job, _ in claimed} == submitted
    page = jobs.list_(db, TENANT, limit=100)
    assert [job.attempt for job in page.data] == [1] * 40
    owner = dict(claimed)
    with db.read() as tx:
        for row in tx.execute(rows.select()):
            assert row.lease_owner == owner[row.id]


def test_higher_priority_first_then_the_older_one(db: Database):
    wanted = []
    for priority in (0, 5, -3, 5, 0):
        wanted.append((priority, submit(db, priority=priority).id))
        time.sleep(0.003)  # SQLite's clock counts milliseconds
    positions = {job: jobs.get(db, TENANT, job).queue.position for _, job in wanted}
    order = [job for _, job in sorted(wanted, key=lambda pair: -pair[0])]  # a stable sort keeps age
    assert sorted(positions, key=positions.__getitem__) == order
    assert [claim(db).job_id for _ in wanted] == order
    assert leases.claim(db, "w", "cpu", 60.0) is None


def test_a_device_takes_its_own_jobs_and_those_for_any(db: Database):
    cuda, cpu, auto = submit(db, device="cuda").id, submit(db, device="cpu").id, submit(db, device="auto").id
    assert {claim(db, device="cpu").job_id, claim(db, device="cpu").job_id} == {cpu, auto}
    assert leases.claim(db, "w", "cpu", 60.0) is None
    assert claim(db, device="cuda").job_id == cuda
    assert leases.claim(db, "w", "cuda", 60.0) is None


def test_a_job_that_is_not_queued_is_claimed_by_nobody(db: Database):
    submit(db)
    claim(db)
    paused = submit(db)
    jobs.pause(db, TENANT, paused.id)
    cancelled = submit(db)
    jobs.cancel(db, TENANT, cancelled.id)
    assert leases.claim(db, "w", "cpu", 60.0) is None


def test_the_queue_tells_of_the_first_job_of_each_device_that_nobody_heard_of(db: Database):
    cuda = submit(db, device="cuda", priority=-100)
    first = submit(db, device="cpu", priority=7)
    for _ in range(3):
        submit(db, device="cpu")
    assert recovery.unheard(db, 60.0) == []
    told = {waiting.device: waiting.job_id for waiting in recovery.unheard(db, -1.0)}
    assert told == {"cuda": cuda.id, "cpu": first.id}
