"""The line in which a tenant's jobs wait for workers, in the order in which they are claimed."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Row, select

from store.tables import IN_LINE, QUEUED, jobs
from unroll.contract import QueuePosition

COUNTED = 1000
"""Number of jobs at the front of a tenant's line whose places are counted: what a place costs does not grow."""


class Line:
    """The front of one tenant's line, read once and only when somebody asks for a place."""

    def __init__(self, tx: Connection, tenant: str) -> None:
        self._tx, self._tenant = tx, tenant

    def place(self, row: Row[Any]) -> QueuePosition | None:
        """Return the place of a queued job among the jobs of its tenant that it competes with for workers.

        Returns None for a job that needs no worker. On PostgreSQL two statements see the database at two moments, so
        None also stands for a job that has left or entered the line since its row was read.
        """
        places, ahead = self._front
        if row.id in places:
            return QueuePosition(position=places[row.id])
        if row.driver == "trainer" and sum(ahead.values()) == COUNTED:
            return QueuePosition(position=_competing(ahead, row.device) + 1, exact=False)
        return None

    @cached_property
    def _front(self) -> tuple[dict[str, int], dict[str, int]]:
        """The places of the jobs at the front, and how many of them ask for each device."""
        front = select(jobs.c.id, jobs.c.device).where(QUEUED, jobs.c.tenant == self._tenant)
        places: dict[str, int] = {}
        ahead = {"auto": 0, "cpu": 0, "cuda": 0}
        for job_id, device in self._tx.execute(front.order_by(*IN_LINE).limit(COUNTED)):
            places[job_id] = _competing(ahead, device) + 1
            ahead[device] += 1
        return places, ahead


def _competing(ahead: dict[str, int], device: str) -> int:
    """Return how many of the jobs ahead run on workers that a job for this device could run on."""
    return sum(ahead.values()) if device == "auto" else ahead["auto"] + ahead[device]
