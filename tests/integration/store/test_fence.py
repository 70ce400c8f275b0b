"""A worker that lost its lease writes nothing, whatever it calls and whenever it wakes up."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import select, text

from store import checkpoints, jobs, journal, leases, metrics, recovery
from store.artifacts import NewArtifact
from store.db import Database
from store.errors import DatabaseUnavailable, LeaseLost
from store.leases import Lease, Report
from store.settings import Settings
from store.tables import jobs as job_rows
from store.tables import metadata
from tests.integration.store.factories import TENANT, block, checkpoint, claim, submit, take_over, train
from tests.servers.deployment import configure, environment
from unroll.contract import Environment, JobError

ERROR = JobError(code="training_error", message="zombie")
ENVIRONMENT = Environment(worker="z", device="cpu", engine="e", torch="2", threads=1, instruction_set="avx2")

WRITES: dict[str, Callable[[Lease], object]] = {
    "heartbeat": lambda lease: leases.report(lease, Report()),
    "metrics": lambda lease: leases.report(lease, Report(blocks=[block(11, 20)], step=20, latest={"loss": [9.0]})),
    "events": lambda lease: leases.report(lease, Report(entries=[("progress", {"step": 20})])),
    "checkpoint": lambda lease: leases.report(lease, Report(checkpoint=checkpoint(20, losses=(0.1,)))),
    "collected": lambda lease: leases.report(lease, Report(collected=[("diverged", {"replica": 0, "step": 15})])),
    "summary": lambda lease: leases.report(lease, Report(summary={"stopped": "max_seconds"})),
    "artifact": lambda lease: leases.report(lease, Report(artifacts=[NewArtifact("a.bin", "text/plain", b"zombie")])),
    "declare": lambda lease: leases.declare(lease, ENVIRONMENT),
    "resume_point": leases.resume_point,
    "succeed": lambda lease: leases.end(lease, "succeeded"),
    "fail": lambda lease: leases.end(lease, "failed", error=ERROR),
    "cancel": lambda lease: leases.end(lease, "cancelled"),
    "pause": lambda lease: leases.give_back(lease, drained=False),
    "drain": lambda lease: leases.give_back(lease, drained=True),
    "crash": lambda lease: leases.crash(lease, ERROR, 1),
}


def everything(db: Database) -> dict[str, list[tuple[object, ...]]]:
    with db.read() as tx:
        return {
            table.name: sorted((tuple(row) for row in tx.execute(select(table))), key=repr)
            for table in metadata.tables.values()
        }


@pytest.mark.parametrize("write", WRITES)
def test_a_zombie_writes_nothing_after_a_takeover(db: Database, write: str):
    submit(db)
    zombie = claim(db)
    train(zombie, 1, 10, checkpointed=True)
    take_over(db, zombie)
    before = everything(db)
    with pytest.raises(LeaseLost):
        WRITES[write](zombie)
    assert everything(db) == before


@pytest.mark.parametrize("write", WRITES)
def test_nor_after_the_job_has_ended_or_was_queued_again(db: Database, write: str):
    job = submit(db)
    late = claim(db)
    train(late, 1, 10, checkpointed=True)
    leases.end(late, "succeeded")
    before = everything(db)
    with pytest.raises(LeaseLost):
        WRITES[write](late)
    assert everything(db) == before
    jobs.remove(db, TENANT, job.id)
    with pytest.raises(LeaseLost):
        WRITES[write](late)

    submit(db)
    drained = claim(db)
    leases.give_back(drained, drained=True)
    before = everything(db)
    with pytest.raises(LeaseLost):
        WRITES[write](drained)
    assert everything(db) == before


@contextmanager
def no_fence(lease: Lease, **values: object):
    """The fence without its condition on the attempt: the ablation."""
    with lease.db.begin() as tx:
        query = job_rows.update().where(job_rows.c.id == lease.job_id).values(attempt=job_rows.c.attempt, **values)
        yield tx, tx.execute(query.returning(job_rows)).one()


@pytest.mark.parametrize("write", ["metrics", "events", "checkpoint", "collected", "artifact", "succeed"])
def test_without_the_fence_a_zombie_would_write(db: Database, monkeypatch: pytest.MonkeyPatch, write: str):
    submit(db)
    zombie = claim(db)
    take_over(db, zombie)
    before = everything(db)
    monkeypatch.setattr(leases, "fenced", no_fence)
    WRITES[write](zombie)
    assert everything(db) != before


def test_a_takeover_waits_for_a_write_that_has_begun_and_sees_all_of_it(db: Database):
    """Inside the transaction the row is locked: the lease cannot be lost between two of its statements."""
    job = submit(db)
    lease = claim(db, seconds=0.05)
    time.sleep(0.1)
    inside, go_on = threading.Event(), threading.Event()

    def slow_write() -> None:
        with leases.fenced(lease) as (tx, _row):
            inside.set()
            go_on.wait(10)
            metrics.write(tx, lease.job_id, block(1, 5))

    writer = threading.Thread(target=slow_write)
    writer.start()
    assert inside.wait(10)
    expired: list[object] = []
    reconciler = threading.Thread(target=lambda: expired.extend(recovery.expire(db, 9)))
    reconciler.start()
    time.sleep(0.2)
    assert expired == []
    assert jobs.get(db, TENANT, job.id).status == "running"
    go_on.set()
    writer.join()
    reconciler.join()
    assert metrics.read(db, TENANT, job.id).last_step == 5
    # the write renewed the lease when it began; once that has run out too, the job is taken back
    time.sleep(0.1)
    recovery.expire(db, 9)
    assert jobs.get(db, TENANT, job.id).status == "queued"
    with pytest.raises(LeaseLost):
        train(lease, 6, 9)


STOPPED_INSIDE = """
import sys
from store import leases, metrics
from store.artifacts import NewArtifact
from store.db import Database
from store.settings import Settings
sys.path.insert(0, "")
from tests.integration.store.factories import block
db = Database(Settings())
lease = leases.claim(db, "stopped", "cpu", float(sys.argv[1]))
with leases.fenced(lease) as (tx, row):
    metrics.write(tx, lease.job_id, block(1, 5))
    print("inside", flush=True)
    sys.stdin.readline()
print("committed", flush=True)
"""


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_a_process_stopped_inside_a_transaction_cannot_hold_the_job_for_ever(settings: Settings):
    settings = configure(settings, lease_seconds=1.0)
    with closing(Database(settings)) as db:
        stop_inside_a_transaction(settings, db)


def stop_inside_a_transaction(settings: Settings, db: Database):
    job = submit(db)
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED_INSIDE, "1.0"],
        env=environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "inside\n"
        process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        queued: list[recovery.Waiting] = []
        while not queued and time.monotonic() - begun < 20:
            queued = recovery.expire(db, 9)
            time.sleep(0.05)
        assert [waiting.job_id for waiting in queued] == [job.id]
        assert time.monotonic() - begun < 10
        successor = claim(db, "successor")
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate("\n", timeout=30)
    assert process.returncode != 0
    assert DatabaseUnavailable.__name__ in errors
    assert metrics.read(db, TENANT, job.id).series == []
    train(successor, 1, 5)


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_nor_one_that_is_stopped_in_the_middle_of_a_message(settings: Settings):
    """Such a transaction is active to PostgreSQL, which ends idle ones alone."""
    settings = configure(settings, lease_seconds=1.0)
    with closing(Database(settings)) as db, closing(Database(settings)) as other:
        job = submit(db)
        lease = claim(db, seconds=1.0)
        with pytest.raises(DatabaseUnavailable):
            fall_silent(lease, other)
        assert jobs.get(other, TENANT, job.id).status == "queued"
        assert jobs.get(other, TENANT, job.id).progress.step == 0
        with pytest.raises(LeaseLost):
            leases.report(lease, Report())


def fall_silent(lease: Lease, other: Database):
    """In a pipeline, as `executemany` makes one, until somebody else has taken the job back."""
    with leases.fenced(lease) as (tx, _row):
        driver = tx.connection.driver_connection
        assert driver is not None
        with driver.pipeline():
            driver.execute("UPDATE jobs SET step = 7")
            driver.pgconn.send_flush_request()
            driver.pgconn.flush()  # and no Sync
            begun = time.monotonic()
            while not recovery.expire(other, 9):
                assert time.monotonic() - begun < 10
                time.sleep(0.05)


def test_readers_do_not_wait_for_a_writer(db: Database):
    job = submit(db)
    with db.begin() as writer:
        writer.execute(text("UPDATE jobs SET step = 7"))
        begun = time.monotonic()
        assert jobs.get(db, TENANT, job.id).progress.step == 0
        assert time.monotonic() - begun < 1.0
    assert jobs.get(db, TENANT, job.id).progress.step == 7


def test_the_journal_of_a_takeover_tells_both_attempts(db: Database):
    job = submit(db)
    zombie = claim(db)
    train(zombie, 1, 10, checkpointed=True)
    train(zombie, 11, 20)
    take_over(db, zombie)
    told, closed = journal.read(db, TENANT, job.id)
    assert not closed
    assert [event.type for event in told] == [
        "queued", "started", "checkpoint", "interrupted", "queued", "rewind", "started",
    ]  # fmt: skip
    assert [event.seq for event in told] == list(range(1, 8))
    assert told[5].data == {"to_step": 10, "attempt": 2}
    assert checkpoints.list_of_job(db, TENANT, job.id).data[0].step == 10
