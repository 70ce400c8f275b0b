"""A job's journal of append-only events. Their `seq` has no gaps, because it is counted on the locked job row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, Text, cast, func, insert, select, update

from store.clock import instant
from store.db import Database, db_now
from store.errors import NotFound
from store.tables import events, jobs
from unroll.contract import Event, EventType

Entry = tuple[EventType, dict[str, Any]]

PAGE_BYTES = 2 * 1024 * 1024
"""Size from which on a page takes no further event: profiles of a thousand replicas are megabytes each."""


class Head(NamedTuple):
    """How far a journal goes."""

    seq: int
    """The last event's."""
    ended: bool
    """Whether the job has ended: unless it is retried, no further events come. Every change of it is an event too."""


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
        last_seq, ended = _head(tx, tenant, job_id)
        asked = _entries(job_id, after, limit, events.c.seq <= last_seq).subquery()
        size = func.length(cast(asked.c.data, Text))
        before = func.coalesce(func.sum(size).over(order_by=asked.c.seq, rows=(None, -1)), 0).label("before")
        sized = select(asked, before).subquery()
        found = _shown(tx.execute(select(sized).where(sized.c.before < PAGE_BYTES).order_by(sized.c.seq)))
    last = found[-1].seq if found else after
    return found, ended and last >= last_seq


def head(db: Database, tenant: str, job_id: str) -> Head:
    """Return how far the journal goes. Raises NotFound."""
    with db.read() as tx:
        return _head(tx, tenant, job_id)


def heads(db: Database, job_ids: Sequence[str]) -> dict[str, Head]:
    """Return how far these journals go, without asking whose they are. A job that was deleted is missing."""
    query = select(jobs.c.id, jobs.c.last_seq, jobs.c.ended_at).where(jobs.c.id.in_(job_ids))
    with db.read() as tx:
        return {row.id: Head(row.last_seq, row.ended_at is not None) for row in tx.execute(query)}


def entries(db: Database, job_id: str, *, after: int, limit: int) -> list[Event]:
    """Return events with seq > after, in order, without asking whose they are."""
    with db.read() as tx:
        return _shown(tx.execute(_entries(job_id, after, limit)))


def _head(tx: Connection, tenant: str, job_id: str) -> Head:
    row = tx.execute(
        select(jobs.c.last_seq, jobs.c.ended_at).where(jobs.c.id == job_id, jobs.c.tenant == tenant)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return Head(row.last_seq, row.ended_at is not None)


def _entries(job_id: str, after: int, limit: int, *where: ColumnElement[bool]) -> Select[Any]:
    """Select events with seq > after, in order."""
    query = select(events).where(events.c.job_id == job_id, events.c.seq > after, *where)
    return query.order_by(events.c.seq).limit(limit)


def _shown(rows: Iterable[Row[Any]]) -> list[Event]:
    return [Event(seq=row.seq, type=row.type, time=instant(row.time), data=row.data) for row in rows]
