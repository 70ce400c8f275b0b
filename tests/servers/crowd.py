"""Many jobs at once, in a few statements: copies of one job, with everything that belongs to it."""

from __future__ import annotations

from sqlalchemy import text

from store import tables
from store.db import Database

_TABLES = (tables.jobs, tables.job_labels, tables.events, tables.metric_blocks, tables.checkpoints, tables.artifacts)


def multiply(db: Database, job_id: str, first: int, count: int, **columns: str) -> None:
    """Copy a job `count` times, and its labels, events, metrics, checkpoints and artifacts, each with blobs of its own.

    The copies are older than every real job, and their numbers begin at `first`. `columns` are SQL expressions for
    columns of jobs, in which `i` is the number of a copy. A copy has no Idempotency-Key unless they say so.
    """
    if count == 0:
        return
    numbers = "WITH RECURSIVE numbers(i) AS (SELECT CAST(:first AS BIGINT) UNION ALL SELECT i + 1 FROM numbers"
    numbers += " WHERE i < :last)"
    values = {"first": first, "last": first + count - 1, "job": job_id}
    copy = {
        "jobs": {"id": _numbered("job_", 30), "idempotency_key": "NULL"} | columns,
        "checkpoints": {"id": _numbered("ckpt_", 31), "weights_sha256": _numbered("", 64), "state_sha256": "NULL"},
        "artifacts": {"sha256": _numbered("a", 64)},
    }
    with db.begin() as tx:
        for digits in (_numbered("", 64), _numbered("a", 64)):
            tx.execute(text(f"INSERT INTO blobs {numbers} SELECT {digits}, 1 FROM numbers"), values)
        for table in _TABLES:
            columns_of = table.columns.keys()
            own = {"job_id": _numbered("job_", 30)} | copy.get(table.name, {})
            expressions = ", ".join(own.get(name, f"{table.name}.{name}") for name in columns_of)
            names = ", ".join(columns_of)
            of_job = f"{table.name}.{'id' if table is tables.jobs else 'job_id'} = :job"
            query = f"SELECT {expressions} FROM numbers, {table.name} WHERE {of_job}"
            tx.execute(text(f"INSERT INTO {table.name} ({names}) {numbers} {query}"), values)


def analyze(db: Database) -> None:
    """Let PostgreSQL count what there is, as its autovacuum does soon after many rows came. SQLite never does."""
    if db.dialect == "postgresql":
        with db.begin() as tx:
            tx.execute(text("ANALYZE"))


def _numbered(prefix: str, length: int) -> str:
    """SQL for the prefix and the number `i`, with zeros between them."""
    zeros = prefix + "0" * (length - len(prefix))
    return f"substr('{zeros}', 1, {length} - length(CAST(i AS VARCHAR))) || CAST(i AS VARCHAR)"
