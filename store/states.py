"""The job's state machine: every edge, and the one function that moves a job along an edge.

    queued  -> running (claimed) | paused | cancelled | failed (cannot be run)
    running -> succeeded | failed | cancelled | paused | queued (lease lost, crashed, or drained)
    paused  -> queued (resumed) | cancelled
    failed, cancelled -> queued (retried)

A move is one conditional UPDATE that names the status it leaves. If two moves race, one succeeds and the other learns
that it failed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, update

from store.db import db_now
from store.tables import jobs
from unroll.contract import ENDED, JobStatus

EDGES: frozenset[tuple[JobStatus, JobStatus]] = frozenset(
    {
        ("queued", "running"),
        ("queued", "paused"),
        ("queued", "cancelled"),
        ("queued", "failed"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("running", "cancelled"),
        ("running", "paused"),
        ("running", "queued"),
        ("paused", "queued"),
        ("paused", "cancelled"),
        ("failed", "queued"),
        ("cancelled", "queued"),
    }
)

ACTIVE: tuple[JobStatus, ...] = ("queued", "running", "paused")
"""The statuses of jobs that have not ended. Lists of them are found by index, which those of `not in ENDED` are not."""


def move(
    tx: Connection, job_id: str, source: JobStatus, target: JobStatus, *where: ColumnElement[bool], **values: Any
) -> Row[Any] | None:
    """Move the job from `source` to `target` if it has status `source` and `where` holds.

    Returns the job's row after the move, or None if nothing moved. A job that leaves `running` gives its lease back and
    forgets what was requested. Raises ValueError if the machine has no such edge.
    """
    if (source, target) not in EDGES:
        message = f"{source} -> {target} is no edge of the job's state machine"
        raise ValueError(message)
    if source == "running":
        ran = jobs.c.ran_seconds + (db_now() - func.coalesce(jobs.c.claimed_at, db_now()))
        ended = {"lease_owner": None, "lease_expires": None, "requested": None, "steps_per_second": None}
        values = ended | {"ran_seconds": ran} | values
    if target == "queued":
        values = {"queued_at": db_now(), "ended_at": None, "error": None} | values
    if target in ENDED:
        values = {"ended_at": db_now()} | values
    return tx.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status == source, *where)
        .values(status=target, **values)
        .returning(jobs)
    ).one_or_none()
