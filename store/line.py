"""The line in which a tenant's jobs wait for workers, in the order in which they are claimed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from store.tables import IN_LINE, QUEUED, jobs
from unroll.contract import QueuePosition

COUNTED = 1000
"""Number of jobs at the front of a tenant's line among which places are counted: what a place costs does not grow."""


def places(tx: Connection, rows: Sequence[Row[Any]]) -> dict[str, QueuePosition]:
    """Return the places of those of a tenant's jobs that wait for workers, by id.

    A place is among the jobs of the tenant that compete for the same workers. On PostgreSQL two statements see the
    database at two moments, so a job that has entered or left the line since its row was read may have no place.
    """
    behind = {row.id: row for row in rows if row.status == "queued" and row.driver == "trainer"}
    if not behind:
        return {}
    front = select(jobs.c.id, jobs.c.device).where(jobs.c.tenant == rows[0].tenant, QUEUED)
    found = {}
    ahead = {"auto": 0, "cpu": 0, "cuda": 0}
    for job_id, device in tx.execute(front.order_by(*IN_LINE).limit(COUNTED)):
        if behind.pop(job_id, None) is not None:
            found[job_id] = QueuePosition(position=_competing(ahead, device) + 1)
        ahead[device] += 1
    if sum(ahead.values()) == COUNTED:
        for job_id, row in behind.items():
            found[job_id] = QueuePosition(position=_competing(ahead, row.device) + 1, exact=False)
    return found


def _competing(ahead: dict[str, int], device: str) -> int:
    """Return how many of the jobs ahead run on workers that a job for this device could run on."""
    return sum(ahead.values()) if device == "auto" else ahead["auto"] + ahead[device]
