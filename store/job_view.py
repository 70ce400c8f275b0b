"""A job's row, as users are shown it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from store.clock import instant
from store.tables import jobs
from unroll.contract import Best, Divergence, Environment, Job, JobError, Progress, QueuePosition, Stop, TrainJob


def places_in_line(tx: Connection) -> dict[str, int]:
    """Where each queued job stands among those it competes with: one pass over the queue in the order of claims."""
    queue = select(jobs.c.id, jobs.c.device).where(jobs.c.status == "queued")
    ahead = {"auto": 0, "cpu": 0, "cuda": 0}
    places = {}
    for job_id, device in tx.execute(queue.order_by(jobs.c.priority.desc(), jobs.c.queued_at, jobs.c.id)):
        competing = ahead.values() if device == "auto" else (ahead["auto"], ahead[device])
        places[job_id] = sum(competing) + 1
        ahead[device] += 1
    return places


def show(tx: Connection, row: Row[Any], places: dict[str, int] | None = None) -> Job:
    """The job; `places` spares a list from counting the queue once a row.

    On PostgreSQL two statements see two moments: a row read as queued may have joined the line, or left it, since.
    """
    if row.status == "queued" and places is None:
        places = places_in_line(tx)
    place = places.get(row.id) if places is not None and row.status == "queued" else None
    rate = row.steps_per_second
    best = row.best_checkpoint and Best(checkpoint=row.best_checkpoint, replica=row.best_replica, loss=row.best_loss)
    return Job(
        id=row.id,
        kind=row.kind,
        name=row.name,
        status=row.status,
        requested=row.requested,
        attempt=row.attempt,
        crashes=row.crashes,
        progress=Progress(
            step=row.step,
            total=row.total,
            loss=row.loss,
            steps_per_second=rate,
            eta_seconds=(row.total - row.step) / rate if rate else None,
        ),
        queue=QueuePosition(position=place) if place is not None else None,
        error=row.error and JobError(**row.error),
        config=TrainJob.model_validate(row.config, extra="ignore"),
        model=row.model_name,
        parameters=row.parameters,
        baseline_loss=row.baseline_loss,
        best=best or None,
        last_checkpoint=row.last_checkpoint,
        diverged=[Divergence(**one) for one in row.diverged],
        environment=row.environment and Environment(**row.environment),
        stopped=row.stopped,
        stopped_replicas=[Stop(**one) for one in row.stopped_replicas or []],
        labels=row.labels,
        priority=row.priority,
        created_at=instant(row.created_at),
        started_at=instant(row.started_at),
        ended_at=instant(row.ended_at),
    )
