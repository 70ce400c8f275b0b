"""Counts what jobs have stored: the sizes of their checkpoints and artifacts, for each job and for each key.

A job's size is measured again whenever its checkpoints or artifacts change, in the same transaction, and the difference
is added to its key's total, which outlives the key. So no query has to add up the jobs that have ended. Content that
several jobs share counts for each of them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from store.tables import artifacts, blobs, checkpoints, jobs, stored


def measure(tx: Connection, job: Row[Any]) -> int:
    """Measure a job whose checkpoints or artifacts may have changed, and return by how many bytes it has grown.

    The caller's transaction holds the job's row.
    """
    state = func.coalesce(blobs.c.size, 0)
    saved = (
        select(func.coalesce(func.sum(checkpoints.c.size + state), 0))
        .select_from(checkpoints.outerjoin(blobs, blobs.c.sha256 == checkpoints.c.state_sha256))
        .where(checkpoints.c.job_id == job.id)
    )
    made = select(func.coalesce(func.sum(artifacts.c.size), 0)).where(artifacts.c.job_id == job.id)
    before = tx.execute(select(jobs.c.stored_bytes).where(jobs.c.id == job.id)).scalar_one()
    now = int(tx.execute(select(saved.scalar_subquery() + made.scalar_subquery())).scalar_one())
    if now != before:
        tx.execute(update(jobs).where(jobs.c.id == job.id).values(stored_bytes=now))
        _add(tx, job, now - before)
    return int(now - before)


def forget(tx: Connection, job: Row[Any]) -> None:
    """Take a job that is being deleted from its key's total. The caller's transaction holds the job's row."""
    if job.stored_bytes:
        _add(tx, job, -job.stored_bytes)


def of_key(tx: Connection, tenant: str, key_id: str) -> int:
    """Return how many bytes the jobs of a key have stored."""
    query = select(stored.c.bytes).where(stored.c.tenant == tenant, stored.c.key_id == key_id)
    return int(tx.execute(query).scalar_one_or_none() or 0)


def of_tenant(tx: Connection, tenant: str) -> int:
    """Return how many bytes the jobs of a tenant have stored."""
    query = select(func.coalesce(func.sum(stored.c.bytes), 0)).where(stored.c.tenant == tenant)
    return int(tx.execute(query).scalar_one())


def _add(tx: Connection, job: Row[Any], change: int) -> None:
    insert = (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(stored)
    row = insert.values(tenant=job.tenant, key_id=job.key_id, bytes=change)
    tx.execute(row.on_conflict_do_update(index_elements=["tenant", "key_id"], set_={"bytes": stored.c.bytes + change}))
