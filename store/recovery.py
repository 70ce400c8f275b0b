"""Repairs what is left after something died: attempts without an end of their own, expired leases, lost rings.

See docs/adr/0001. Everything here is a conditional write, so any number of reconcilers may run at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, select

from store import journal
from store.db import Database, db_now
from store.states import move
from store.tables import IN_LINE, QUEUED, jobs
from unroll.contract import JobError


def crashed(tx: Connection, row: Row[Any], error: JobError, max_crashes: int) -> bool:
    """Decide what becomes of a job whose attempt died, and return whether it is queued again."""
    crashes = row.crashes + 1
    journal.append(tx, row.id, [("interrupted", {"cause": error.code, "message": error.message, "crashes": crashes})])
    if row.requested == "cancel":
        move(tx, row.id, "running", "cancelled", crashes=crashes)
        journal.append(tx, row.id, [("end", {"status": "cancelled", "error": None})])
    elif crashes >= max_crashes:
        told = {**error.model_dump(mode="json"), "step": row.step, "checkpoint": row.last_checkpoint}
        move(tx, row.id, "running", "failed", crashes=crashes, error=told)
        journal.append(tx, row.id, [("end", {"status": "failed", "error": {**told, "log": None}})])
    elif row.requested == "pause":
        move(tx, row.id, "running", "paused", crashes=crashes)
        journal.append(tx, row.id, [("paused", {"step": row.step})])
    else:
        move(tx, row.id, "running", "queued", crashes=crashes, queued_at=row.queued_at)
        journal.append(tx, row.id, [("queued", {"reason": error.code})])
        return True
    return False


@dataclass(frozen=True)
class Waiting:
    """A queued job that a worker should be told about."""

    job_id: str
    device: Literal["auto", "cpu", "cuda"]


def expire(db: Database, max_crashes: int) -> list[Waiting]:
    """Take back jobs whose lease has expired by the database's clock, and return those that are queued again.

    If a stopped process holds a job's row, the job follows in a later round, because the process's session is ended
    first.
    """
    db.end_silent_writers()
    expired = select(jobs.c.id).where(jobs.c.status == "running", jobs.c.lease_expires < db_now())
    with db.read() as tx:
        found = tx.execute(expired).scalars().all()
    queued = []
    for job_id in found:
        with db.begin() as tx:
            row = tx.execute(
                select(jobs)
                .where(jobs.c.id == job_id, jobs.c.status == "running", jobs.c.lease_expires < db_now())
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if row is None:
                continue
            error = JobError(code="crashed", message=f"Worker {row.lease_owner} was not heard of any more.")
            if crashed(tx, row, error, max_crashes):
                queued.append(Waiting(row.id, row.device))
    return queued


def unheard(db: Database, older_than: float) -> list[Waiting]:
    """Return jobs queued for over `older_than` seconds, whose ring may have been lost: the first of each device."""
    devices: tuple[Literal["auto", "cpu", "cuda"], ...] = ("auto", "cpu", "cuda")
    first = []
    with db.read() as tx:
        for device in devices:
            query = (
                select(jobs.c.id)
                .where(QUEUED, jobs.c.device == device)
                .where(jobs.c.queued_at < db_now() - older_than)
                .order_by(*IN_LINE)
                .limit(1)
            )
            if (job_id := tx.execute(query).scalar_one_or_none()) is not None:
                first.append(Waiting(job_id, device))
    return first
