"""A job's journal of append-only events. Their `seq` has no gaps, because it is counted on the locked job row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Text, cast, func, insert, select, update

from store.clock import instant
from store.db import Database, db_now
from store.errors import NotFound
from store.tables import events, jobs
from unroll.contract import Event, EventType

Entry = tuple[EventType, dict[str, Any]]

PAGE_BYTES = 2 * 1024 * 1024
"""Size from which on a page takes no further event: profiles of a thousand replicas are megabytes each."""


def append(tx: Connection, job_id: str, entries: Sequence[Entry]) -> None:
    """Append events. The transaction must hold the job's row, so that the order of seq is the order of commits."""
    if not entries:
        return
    last = tx.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(last_seq=jobs.c.last_seq + len(entries))
        .returning(jobs.c.last_seq)
    ).scalar_one()
    first = last - len(entries) + 1
    now = tx.execute(select(db_now())).scalar_one()
    tx.execute(
        insert(events),
        [
            {"job_id": job_id, "seq": first + i, "type": kind, "time": now, "data": data}
            for i, (kind, data) in enumerate(entries)
        ],
    )


def read(db: Database, tenant: str, job_id: str, *, after: int = 0, limit: int = 1000) -> tuple[list[Event], bool]:
    """Return events with seq > after, in order, and whether the journal is closed (the job has ended) after them.

    The job's row is read first, then the events up to its last_seq. So a closed journal has no further events unless
    the job is retried. Fewer events than `limit` are returned where they are large, at least one. Raises NotFound.
    """
    with db.read() as tx:
        job = tx.execute(
            select(jobs.c.last_seq, jobs.c.ended_at).where(jobs.c.id == job_id, jobs.c.tenant == tenant)
        ).one_or_none()
        if job is None:
            raise NotFound(f"There is no job {job_id}.")
        asked = (
            select(events)
            .where(events.c.job_id == job_id, events.c.seq > after, events.c.seq <= job.last_seq)
            .order_by(events.c.seq)
            .limit(limit)
            .subquery()
        )
        size = func.length(cast(asked.c.data, Text))
        before = func.coalesce(func.sum(size).over(order_by=asked.c.seq, rows=(None, -1)), 0).label("before")
        sized = select(asked, before).subquery()
        rows = tx.execute(select(sized).where(sized.c.before < PAGE_BYTES).order_by(sized.c.seq)).all()
    found = [Event(seq=row.seq, type=row.type, time=instant(row.time), data=row.data) for row in rows]
    last = found[-1].seq if found else after
    return found, job.ended_at is not None and last >= job.last_seq
