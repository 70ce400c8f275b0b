"""Which workers are alive, and which jobs wait for them."""

from __future__ import annotations

import platform
from typing import Literal

from sqlalchemy import Connection, case, delete, func, select, update

from store.clock import instant
from store.db import Database, db_now
from store.states import ACTIVE
from store.tables import QUEUED, jobs, workers
from unroll.contract import ENDED, JobStatus, Queue, Worker

FORGOTTEN_SECONDS = 86_400.0
HEARTBEATS = 3.0
"""A worker that has missed this many heartbeats is not alive."""


def worker_id(pid: int, token: str) -> str:
    """Return the id of a worker process on this machine; `token` is unique to the process or to what started it."""
    return f"{platform.node()[:60]}-{pid}-{token}"


def enlist(db: Database, worker_id: str, host: str, pid: int, device: Literal["cpu", "cuda"], version: str) -> None:
    """Register a worker that has started, and forget workers that were silent for a day."""
    values = {
        "host": host,
        "pid": pid,
        "device": device,
        "version": version,
        "started_at": db_now(),
        "seen_at": db_now(),
    }
    with db.begin() as tx:
        tx.execute(delete(workers).where(workers.c.seen_at < db_now() - FORGOTTEN_SECONDS))
        tx.execute(db.insert_ignore(workers).values(id=worker_id, **values))


def seen(db: Database, worker_id: str, job_id: str | None) -> float | None:
    """Record a worker's heartbeat and its present job.

    Return the time by the database's clock, or None if the worker is not in the list.
    """
    heartbeat = update(workers).where(workers.c.id == worker_id).values(seen_at=db_now(), job_id=job_id)
    with db.begin() as tx:
        return tx.execute(heartbeat.returning(workers.c.seen_at)).scalar_one_or_none()


def dismiss(db: Database, worker_id: str) -> None:
    """Remove a worker that has stopped."""
    with db.begin() as tx:
        tx.execute(delete(workers).where(workers.c.id == worker_id))


def list_workers(db: Database, tenant: str, alive_seconds: float) -> list[Worker]:
    """Return all workers. A worker's job is shown only to the job's tenant."""
    own = case((jobs.c.tenant == tenant, workers.c.job_id), else_=None).label("own_job")
    query = (
        select(workers, own, (workers.c.seen_at >= db_now() - alive_seconds).label("alive"))
        .outerjoin(jobs, jobs.c.id == workers.c.job_id)
        .order_by(workers.c.id)
    )
    with db.read() as tx:
        rows = tx.execute(query).all()
    return [
        Worker(
            id=row.id,
            host=row.host,
            pid=row.pid,
            device=row.device,
            job=row.own_job,
            busy=row.job_id is not None,
            alive=bool(row.alive),
            started_at=instant(row.started_at),
            seen_at=instant(row.seen_at),
            version=row.version,
        )
        for row in rows
    ]


def list_queues(db: Database, alive_seconds: float) -> list[Queue]:
    """Return, for each device, how many jobs of all tenants wait for workers or run on one, and who can run them.

    Jobs that need no worker are not counted. The workers are those that are alive.
    """
    with db.read() as tx:
        by_device = select(jobs.c.device, func.count().label("jobs")).group_by(jobs.c.device)
        running = by_device.where(jobs.c.status == "running", jobs.c.driver == "trainer")
        queued_of = {row.device: row.jobs for row in tx.execute(by_device.where(QUEUED))}
        running_of = {row.device: row.jobs for row in tx.execute(running)}
        live = _alive(tx, alive_seconds)
    fitting = {"auto": sum(live.values()), "cpu": live.get("cpu", 0), "cuda": live.get("cuda", 0)}
    return [
        Queue(
            device=device,
            queued=queued_of.get(device, 0),
            running=running_of.get(device, 0),
            workers=fitting[device],
        )
        for device in ("auto", "cpu", "cuda")
    ]


def count_alive(db: Database, alive_seconds: float) -> dict[str, int]:
    """Count the living workers of each device. A device without one is left out."""
    with db.read() as tx:
        return _alive(tx, alive_seconds)


def count_beside(db: Database, worker_id: str, host: str, alive_seconds: float) -> int:
    """Count the other living workers of this service on the machine `host`."""
    query = select(func.count()).where(
        workers.c.host == host, workers.c.id != worker_id, workers.c.seen_at >= db_now() - alive_seconds
    )
    with db.read() as tx:
        return tx.execute(query).scalar_one()


def _alive(tx: Connection, alive_seconds: float) -> dict[str, int]:
    query = (
        select(workers.c.device, func.count().label("alive"))
        .where(workers.c.seen_at >= db_now() - alive_seconds)
        .group_by(workers.c.device)
    )
    return {row.device: row.alive for row in tx.execute(query)}


def count_jobs(db: Database) -> dict[JobStatus, int]:
    """Count the jobs of all tenants that have not ended, in each status."""
    query = select(jobs.c.status, func.count().label("jobs")).where(jobs.c.status.in_(ACTIVE)).group_by(jobs.c.status)
    with db.read() as tx:
        return dict.fromkeys(ACTIVE, 0) | {row.status: row.jobs for row in tx.execute(query)}


def count_ended(db: Database, seconds: float) -> dict[JobStatus, int]:
    """Count the jobs of all tenants that ended in the last `seconds`, in each status."""
    with db.read() as tx:
        # read first, as PostgreSQL looks for what a clock says in no index, and status by status, as SQLite sorts none
        after = tx.execute(select(db_now())).scalar_one() - seconds
        lately = select(func.count()).select_from(jobs).where(jobs.c.ended_at > after)
        return {status: tx.execute(lately.where(jobs.c.status == status)).scalar_one() for status in sorted(ENDED)}
