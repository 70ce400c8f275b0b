"""Repairs what is left after something died: attempts without an end of their own, expired leases, lost rings.

See docs/adr/0001 and 0013. Everything here is a conditional write, so any number of reconcilers may run at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, select

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


def hand_back(tx: Connection, row: Row[Any], reason: str) -> None:
    """Take a job out of the hands of its attempt without counting a crash: what the user requested decides where to.

    `reason` is that of its event if it is queued again.
    """
    if row.requested == "cancel":
        move(tx, row.id, "running", "cancelled")
        journal.append(tx, row.id, [("end", {"status": "cancelled", "error": None})])
    elif row.requested == "pause":
        move(tx, row.id, "running", "paused")
        journal.append(tx, row.id, [("paused", {"step": row.step})])
    else:
        # the job keeps its place: it was first in the queue when it started
        move(tx, row.id, "running", "queued", queued_at=row.queued_at)
        journal.append(tx, row.id, [("queued", {"reason": reason})])


@dataclass(frozen=True)
class Waiting:
    """A queued job that a worker should be told about."""

    job_id: str
    device: Literal["auto", "cpu", "cuda"]


class Watch:
    """Decides whether a reconciler may judge leases: only if it has watched for a whole lease without a gap.

    After a gap the machine has slept, or the database was away, so the workers could not renew their leases either:
    they get the time of a lease to do so. Time is the database's, which goes on while a machine sleeps. A reconciler
    that has just started may judge at once, because a job must not wait longer after a power cut.
    """

    def __init__(self, lease_seconds: float) -> None:
        """`lease_seconds` is how long a lease lasts; a gap is more than half of it."""
        self._lease_seconds = lease_seconds
        self._since, self._last = -math.inf, math.nan

    def look(self, now: float) -> bool:
        """Record that the reconciler looks at `now`, and return whether it may judge leases."""
        if now - self._last > self._lease_seconds / 2 or now < self._last:
            self._since = now
        self._last = now
        return now - self._since >= self._lease_seconds


def expire(db: Database, max_crashes: int, now: float | None = None) -> list[Waiting]:
    """Take back jobs whose lease had expired at `now`, and return those that are queued again.

    `now` is a time of the database's clock at which somebody watched (None: the present). A process that sleeps between
    its look and this call thus takes back nothing that expired meanwhile. If a stopped process holds a job's row, the
    job follows in a later round, because the process's session is ended first.
    """
    db.end_silent_writers()
    expired = jobs.c.lease_expires < (db_now() if now is None else now)
    return _take_back(db, expired, lambda owner: f"Worker {owner} was not heard of any more.", max_crashes)


def take_back(db: Database, worker_id: str, how: str, max_crashes: int) -> list[Waiting]:
    """Take back what a worker holds that is known to be dead, and return what is queued again.

    `how` says how it ended. Its lease need not have expired.
    """
    held = jobs.c.lease_owner == worker_id
    return _take_back(db, held, lambda owner: f"Worker {owner} ended: {how}.", max_crashes)


def _take_back(db: Database, which: ColumnElement[bool], said: Callable[[str], str], max_crashes: int) -> list[Waiting]:
    with db.read() as tx:
        found = tx.execute(select(jobs.c.id).where(jobs.c.status == "running", which)).scalars().all()
    queued = []
    for job_id in found:
        with db.begin() as tx:
            row = tx.execute(
                select(jobs)
                .where(jobs.c.id == job_id, jobs.c.status == "running", which)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if row is None:
                continue
            if crashed(tx, row, JobError(code="crashed", message=said(row.lease_owner)), max_crashes):
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
