"""What operators see of workers and queues, and what a stream sees of a journal."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from store import fleet, jobs, journal, leases
from store.db import Database
from store.errors import JobNotEnded, NotFound
from tests.integration.store.factories import TENANT, claim, count, submit


def test_workers_are_alive_as_long_as_they_are_heard_of(db: Database):
    fleet.enlist(db, "w1", "host1", 11, "cpu", "0.1")
    fleet.enlist(db, "w2", "host2", 12, "cuda", "0.1")
    with db.begin() as tx:
        tx.execute(text("UPDATE workers SET seen_at = seen_at - 100 WHERE id = 'w2'"))
    assert [(one.id, one.alive) for one in fleet.list_workers(db, TENANT, 45)] == [("w1", True), ("w2", False)]
    fleet.seen(db, "w2", None)
    assert all(one.alive for one in fleet.list_workers(db, TENANT, 45))
    fleet.dismiss(db, "w1")
    assert [one.id for one in fleet.list_workers(db, TENANT, 45)] == ["w2"]


def test_workers_of_one_machine_know_how_many_others_share_it(db: Database):
    fleet.enlist(db, "w1", "host", 1, "cpu", "0.1")
    fleet.enlist(db, "w2", "host", 2, "cpu", "0.1")
    fleet.enlist(db, "elsewhere", "other", 3, "cpu", "0.1")
    fleet.enlist(db, "dead", "host", 4, "cpu", "0.1")
    with db.begin() as tx:
        tx.execute(text("UPDATE workers SET seen_at = seen_at - 100 WHERE id = 'dead'"))
    assert [fleet.count_beside(db, one, "host", 45) for one in ("w1", "w2", "not enlisted yet")] == [1, 1, 2]


def test_workers_not_heard_of_for_a_day_are_forgotten(db: Database):
    fleet.enlist(db, "old", "host", 1, "cpu", "0.1")
    with db.begin() as tx:
        tx.execute(text("UPDATE workers SET seen_at = seen_at - 90000"))
    fleet.enlist(db, "new", "host", 2, "cpu", "0.1")
    assert [one.id for one in fleet.list_workers(db, TENANT, 1e9)] == ["new"]


def test_queues_count_jobs_and_the_workers_that_could_run_them(db: Database):
    for device in ("auto", "auto", "cpu", "cuda"):
        submit(db, device=device)
    claim(db)
    jobs.cancel(db, TENANT, submit(db).id)
    fleet.enlist(db, "w1", "host", 1, "cpu", "0.1")
    found = {queue.device: (queue.queued, queue.running, queue.workers) for queue in fleet.list_queues(db, 45)}
    assert found == {"auto": (1, 1, 1), "cpu": (1, 0, 1), "cuda": (1, 0, 0)}
    assert fleet.count_jobs(db) == {"queued": 3, "running": 1, "paused": 0}


def test_jobs_that_need_no_worker_stand_in_no_line(db: Database):
    submit(db, driver="reconciler", device="cpu")
    first = submit(db, device="cpu")
    cpu = next(queue for queue in fleet.list_queues(db, 45) if queue.device == "cpu")
    assert (cpu.queued, first.queue.position) == (1, 1)
    assert [job.queue and job.queue.position for job in jobs.list_(db, TENANT).data] == [1, None]


def test_jobs_that_ended_are_counted_for_as_long_as_is_asked(db: Database):
    submit(db)
    leases.end(claim(db), "succeeded")
    jobs.cancel(db, TENANT, submit(db).id)
    long_ago = jobs.cancel(db, TENANT, submit(db).id)
    with db.begin() as tx:
        tx.execute(text("UPDATE jobs SET ended_at = ended_at - 100 WHERE id = :id"), {"id": long_ago.id})
    assert fleet.count_ended(db, 60.0) == {"succeeded": 1, "failed": 0, "cancelled": 1}
    assert fleet.count_ended(db, 160.0)["cancelled"] == 2


def test_a_reader_that_follows_a_journal_sees_every_event_once_and_in_order(db: Database):
    job = submit(db)
    lease = claim(db)

    def write() -> None:
        for step in range(60):
            leases.report(lease, leases.Report(entries=[("progress", {"step": step + part}) for part in (0.0, 0.5)]))
        leases.end(lease, "succeeded")

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[int] = []
    closed = False
    while not closed:
        found, closed = journal.read(db, TENANT, job.id, after=seen[-1] if seen else 0, limit=7)
        seen += [event.seq for event in found]
    writer.join()
    assert seen == list(range(1, 2 + 120 + 1 + 1))
    assert found[-1].type == "end"


def test_a_reader_may_begin_anywhere_and_is_told_when_nothing_more_will_come(db: Database):
    job = submit(db)
    jobs.cancel(db, TENANT, job.id)
    assert journal.read(db, TENANT, job.id, limit=1)[1] is False
    for after, sequence in ((0, [1, 2]), (1, [2]), (2, []), (99, [])):
        found, closed = journal.read(db, TENANT, job.id, after=after)
        assert [event.seq for event in found] == sequence
        assert closed
    jobs.retry(db, TENANT, job.id)
    found, closed = journal.read(db, TENANT, job.id, after=2)
    assert ([event.seq for event in found], closed) == ([3], False)


def test_an_ended_job_can_be_deleted_with_all_that_hangs_on_it(db: Database):
    job = submit(db)
    with pytest.raises(JobNotEnded):
        jobs.remove(db, TENANT, job.id)
    jobs.cancel(db, TENANT, job.id)
    jobs.remove(db, TENANT, job.id)
    assert count(db, "jobs") == count(db, "events") == 0
    with pytest.raises(NotFound):
        journal.read(db, TENANT, job.id)
