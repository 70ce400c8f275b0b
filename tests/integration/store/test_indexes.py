"""The queries that run all the time do not read whole tables."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import event, insert, text

from store import artifacts, checkpoints, jobs, journal, keys, leases, metrics, models, recovery
from store.artifacts import NewArtifact
from store.db import Database
from store.tables import jobs as job_rows
from tests.integration.store.factories import (
    NETWORK,
    TENANT,
    checkpoint,
    claim,
    load_inputs,
    new,
    new_job,
    submit,
    train,
)
from unroll.contract import EvaluateJob, NewKey, NewModel

MANY = 3000


@pytest.fixture
def busy(db: Database) -> Database:
    """A database with many ended and some waiting jobs."""
    submit(db)
    with db.begin() as tx:
        row = dict(tx.execute(job_rows.select()).mappings().one())
        many = [
            row
            | {
                "id": f"job_{number:026d}",
                "status": "queued" if number % 20 == 0 else "succeeded",
                "key_id": f"key{number % 50}",
                "tenant": f"tenant{number % 50}",
                "queued_at": float(number),
            }
            for number in range(MANY)
        ]
        tx.execute(insert(job_rows), many)
        if db.dialect == "postgresql":  # does so by itself; SQLite never does
            tx.execute(text("ANALYZE"))
    return db


@pytest.fixture
def statements(busy: Database) -> Iterator[list[tuple[str, object]]]:
    """Every SELECT, UPDATE and DELETE that runs meanwhile."""
    seen: list[tuple[str, object]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            seen.append((statement, parameters))

    event.listen(busy.engine, "before_cursor_execute", note)
    yield seen
    event.remove(busy.engine, "before_cursor_execute", note)


def plan(db: Database, statement: str, parameters: object) -> str:
    with db.begin() as tx:
        if db.dialect == "sqlite":
            rows = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            return "\n".join(row[3] for row in rows)
        # small tables are rightly read whole: ask what is possible, not what is cheapest for few rows
        tx.exec_driver_sql("SET LOCAL enable_seqscan = off")
        rows = tx.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()
        return "\n".join(row[0] for row in rows)


def test_no_query_of_the_daily_round_reads_a_whole_table(busy: Database, statements: list[tuple[str, object]]):
    db = busy
    key = keys.create(db, b"s", TENANT, NewKey(name="k", max_active_jobs=5))
    keys.authenticate(db, b"s", key.secret)
    models.register(db, TENANT, NewModel(name="m", config=NETWORK), 19)
    model_id, _ = models.resolve(db, TENANT, "m")
    job, _ = jobs.submit(db, TENANT, key.id, new_job(model_id=model_id, priority=9), idempotency=("a", "b"))
    jobs.list_(db, TENANT)
    jobs.pause(db, TENANT, job.id)
    jobs.resume(db, TENANT, job.id)
    claim(db)
    lease = claim(db, order="plain")
    train(lease, 1, 10)
    for step in (10, 20, 30):
        leases.report(lease, leases.Report(checkpoint=checkpoint(step, losses=(0.1,), keep=1), step=step))
    leases.report(lease, leases.Report(artifacts=[NewArtifact("a.txt", "text/plain", b"a")], step=30))
    leases.resume_point(lease)
    recovery.expire(db, 3)
    recovery.unheard(db, 1.0)
    leases.end(lease, "succeeded")
    found = checkpoints.list_of_job(db, TENANT, job.id).data[0]
    config = EvaluateJob(checkpoint=found.id, priority=10)
    reader, _ = jobs.submit(db, TENANT, key.id, new(config, total=1, parent=job.id))
    assert claim(db, order="plain").job_id == reader.id
    load_inputs(db, TENANT, reader.id)
    jobs.list_(db, TENANT, parent=job.id)
    made = artifacts.list_of_job(db, TENANT, job.id)[0]
    artifacts.content(db, TENANT, job.id, made.name, made.sha256)
    journal.read(db, TENANT, job.id)
    metrics.read(db, TENANT, job.id, max_points=4)
    list(metrics.stream(db, TENANT, job.id, from_step=5))
    checkpoints.content(db, TENANT, found.id)
    models.served(db, TENANT, "m")
    models.remove(db, TENANT, "m")
    checked = 0
    for statement, parameters in list(statements):
        told = plan(db, statement, parameters)
        whole = "SCAN jobs" if db.dialect == "sqlite" else "Seq Scan on"
        lines = [line for line in told.splitlines() if whole in line and "USING" not in line]
        assert lines == [], f"{statement}\n{told}"
        checked += 1
    assert checked > 40


def test_a_claim_among_thousands_costs_milliseconds(busy: Database):
    with busy.begin() as tx:
        tx.execute(text("UPDATE jobs SET status = 'queued'"))
    claim(busy)
    begun = time.perf_counter()
    for _ in range(20):
        claim(busy)
    assert (time.perf_counter() - begun) / 20 < 0.25
