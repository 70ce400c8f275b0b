"""Turns a job's row into what users see."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row

from store.clock import instant
from unroll.contract import Environment, Job, JobConfig, JobError, JobRequest, JobSummary, Progress, QueuePosition

_CONFIG: TypeAdapter[Any] = TypeAdapter(JobConfig)
_SUMMARY: TypeAdapter[Any] = TypeAdapter(JobSummary)


def show(row: Row[Any], place: QueuePosition | None) -> Job:
    """Return the job. `place` is its place in the line."""
    rate = row.steps_per_second
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
            steps_per_second=rate,
            eta_seconds=(row.total - row.step) / rate if rate else None,
        ),
        queue=place,
        error=row.error and JobError(**row.error),
        config=config(row),  # type: ignore[arg-type] # the union is one of kinds, its base is their type
        summary=_SUMMARY.validate_python(_summary(row)),
        parent=row.parent_id,
        environment=row.environment and Environment(**row.environment),
        labels=row.labels,
        priority=row.priority,
        created_at=instant(row.created_at),
        started_at=instant(row.started_at),
        ended_at=instant(row.ended_at),
    )


def config(row: Row[Any]) -> JobRequest:
    """Return the stored configuration."""
    found: JobRequest = _CONFIG.validate_python(row.config, extra="ignore")
    return found


def _summary(row: Row[Any]) -> dict[str, Any]:
    """Collect everything that may be said about a job of any kind.

    The summary type of its kind takes the fields it has.
    """
    best = None
    if row.best_checkpoint is not None:
        best = {"checkpoint": row.best_checkpoint, "replica": row.best_replica, "loss": row.best_loss}
    of_checkpoints = {"best": best, "last_checkpoint": row.last_checkpoint}
    said: dict[str, Any] = {"kind": row.kind, "model": row.model_name, **row.facts}
    said["estimated_seconds"] = row.facts.get("seconds")
    return {**said, **row.latest, **of_checkpoints, **row.summary}
