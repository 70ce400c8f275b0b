"""Commands on jobs that exist: jobs, watch, cancel, pause, resume, retry."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, cast

import typer

from unroll.cli.exits import INTERRUPTED
from unroll.cli.output import Format, Output, say, show_fields, show_json, show_table
from unroll.cli.values import pairs
from unroll.client import Client
from unroll.contract import Job, JobStatus
from unroll.errors import JobEndedError
from unroll.job import JobHandle
from unroll.progress import clock, describe

JobId = Annotated[str, typer.Argument(help="The job's id.", metavar="JOB")]


def jobs(
    context: typer.Context,
    job_id: Annotated[str | None, typer.Argument(help="Show this one.", metavar="[JOB]")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only jobs in this status; repeatable.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only jobs with this label; repeatable.", metavar="KEY=VALUE")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs that train this registered model.")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    output: Output = Format.TABLE,
) -> None:
    """List jobs, or show one."""
    client: Client = context.obj
    if job_id is not None:
        show_job(client.jobs.get(job_id), output)
        return
    listing = client.jobs.list(
        status=cast("list[JobStatus]", status or []),  # the server knows which there are
        labels=pairs(label or [], "--label"),
        model=model,
        name=name,
        limit=min(limit, 100),
    )
    found = list(islice(listing, limit))
    if output is Format.JSON:
        show_json(found)
        return
    header = ("job", "name", "status", "step", "of", "best loss", "baseline", "age")
    show_table(
        header,
        [
            (
                job.id,
                job.name,
                job.status,
                job.progress.step,
                job.progress.total,
                job.best and job.best.loss,
                job.baseline_loss,
                clock((datetime.now(UTC) - job.created_at).total_seconds()),
            )
            for job in found
        ],
    )


def watch(context: typer.Context, job_id: JobId, output: Output = Format.TABLE) -> None:
    """Follow a job until it has ended. Ctrl-C stops the following, never the job."""
    client: Client = context.obj
    follow(client.job(job_id), output)


def cancel(context: typer.Context, job_id: JobId, output: Output = Format.TABLE) -> None:
    """Cancel a job."""
    client: Client = context.obj
    show_job(client.jobs.cancel(job_id), output)


def pause(context: typer.Context, job_id: JobId, output: Output = Format.TABLE) -> None:
    """Pause a job; it makes a checkpoint first."""
    client: Client = context.obj
    show_job(client.jobs.pause(job_id), output)


def resume(context: typer.Context, job_id: JobId, output: Output = Format.TABLE) -> None:
    """Queue a paused job again."""
    client: Client = context.obj
    show_job(client.jobs.resume(job_id), output)


def retry(context: typer.Context, job_id: JobId, output: Output = Format.TABLE) -> None:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    client: Client = context.obj
    show_job(client.jobs.retry(job_id), output)


def follow(handle: JobHandle, output: Format) -> None:
    """Wait for a job and show how it ended; a bar is shown only to people. Raises JobFailed, JobCancelled."""
    import sys

    try:
        handle.wait(progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        say(f"\ndetached; the job goes on: unroll watch {handle.id}")
        raise typer.Exit(INTERRUPTED) from None
    except JobEndedError as ended:
        show_job(ended.job, output)
        raise
    show_job(handle.job, output)


def show_job(job: Job, output: Format) -> None:
    """One job."""
    if output is Format.JSON:
        show_json(job)
        return
    show_fields(
        {
            "job": job.id,
            "name": job.name,
            "status": job.status + (f" ({job.requested} requested)" if job.requested else ""),
            "progress": describe(job),
            "attempt": job.attempt,
            "engine": job.environment and f"{job.environment.engine} ({job.environment.device})",
            "model": job.model,
            "parameters": job.parameters,
            "baseline loss": job.baseline_loss,
            "best loss": job.best and job.best.loss,
            "best network": job.best and f"replica {job.best.replica} of {job.best.checkpoint}",
            "last checkpoint": job.last_checkpoint,
            "diverged replicas": ", ".join(str(one.replica) for one in job.diverged) or None,
            "hint": next((one.hint for one in reversed(job.diverged) if one.hint), None),
            "stopped by": job.stopped,
            "stopped replicas": ", ".join(f"{one.replica} at {one.step}" for one in job.stopped_replicas) or None,
            "error": job.error and f"{job.error.message} ({job.error.code})",
            "labels": job.labels or None,
            "created": job.created_at.isoformat(timespec="seconds"),
            "ended": job.ended_at and job.ended_at.isoformat(timespec="seconds"),
        }
    )
