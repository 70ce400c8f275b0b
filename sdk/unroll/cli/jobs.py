"""Commands on jobs that exist: jobs, watch, cancel, pause, resume, retry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, cast

import typer

from unroll._wire import summary_of
from unroll.cli.differences import differences
from unroll.cli.exits import INTERRUPTED
from unroll.cli.output import Format, Output, say, show_fields, show_json, show_table
from unroll.cli.targets import JobTarget, job_of
from unroll.cli.values import pairs
from unroll.client import Client
from unroll.contract import ENDED, Environment, Job, JobStatus
from unroll.errors import JobEndedError, without_hint
from unroll.job import JobHandle
from unroll.progress import clock, describe, say_estimate


def jobs(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(help="Show this one: an id, or a name.", metavar="[JOB]")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only jobs in this status; repeatable.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only jobs of this kind: train, evaluate or export.")] = None,
    parent: Annotated[str | None, typer.Option(help="Only jobs that read what this job made.", metavar="JOB")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only jobs with this label; repeatable.", metavar="KEY=VALUE")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs that train this registered model.")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many, the newest first.")] = 20,
    output: Output = Format.TABLE,
) -> None:
    """List jobs, or show one. With --label the list also shows in what the jobs differ: labels, seed, lr, ..."""
    client: Client = context.obj
    if job is not None:
        show_job(client.jobs.get(job_of(client, job)), output)
        return
    listing = client.jobs.list(
        status=cast("list[JobStatus]", status or []),  # the server checks them
        labels=pairs(label or [], "--label"),
        kind=kind,
        parent=parent,
        model=model,
        name=name,
        limit=min(limit, 100),
    )
    found = list(islice(listing, limit))
    if output is Format.JSON:
        show_json(found)
        return
    different = differences(found) if label else {}
    header = ("job", "kind", "name", "status", "step", "of", "headline", "age")
    show_table(
        (*header, *different),
        [
            (
                one.id,
                one.kind,
                one.name,
                one.status,
                one.progress.step,
                one.progress.total,
                summary_of(one).headline(),
                clock((datetime.now(UTC) - one.created_at).total_seconds()),
                *(values[place] for values in different.values()),
            )
            for place, one in enumerate(found)
        ],
    )


def watch(context: typer.Context, job: JobTarget, output: Output = Format.TABLE) -> None:
    """Follow a job until it has ended. Ctrl-C stops the following, never the job."""
    client: Client = context.obj
    follow(client.job(job_of(client, job)), output)


def cancel(context: typer.Context, job: JobTarget, output: Output = Format.TABLE) -> None:
    """Cancel a job."""
    client: Client = context.obj
    show_job(client.jobs.cancel(job_of(client, job)), output)


def pause(context: typer.Context, job: JobTarget, output: Output = Format.TABLE) -> None:
    """Pause a job. It makes a checkpoint first, if its kind makes any."""
    client: Client = context.obj
    show_job(client.jobs.pause(job_of(client, job)), output)


def resume(context: typer.Context, job: JobTarget, output: Output = Format.TABLE) -> None:
    """Queue a paused job again."""
    client: Client = context.obj
    show_job(client.jobs.resume(job_of(client, job)), output)


def retry(context: typer.Context, job: JobTarget, output: Output = Format.TABLE) -> None:
    """Queue a failed or cancelled job again. It goes on from its last checkpoint."""
    client: Client = context.obj
    show_job(client.jobs.retry(job_of(client, job)), output)


def submitted(
    handle: JobHandle, output: Format, *, detach: bool, show: Callable[[JobHandle], None] | None = None
) -> None:
    """Print which job was submitted and follow it, unless the user detaches.

    `show` shows the result of a succeeded job.
    """
    say(f"submitted {handle.id}")
    if detach:
        say_estimate(handle.job)
        show_job(handle.job, output)
    else:
        follow(handle, output, show)


def follow(handle: JobHandle, output: Format, show: Callable[[JobHandle], None] | None = None) -> None:
    """Wait for a job and show how it ended: people see a bar, a pipe gets lines. Raises JobFailed, JobCancelled.

    `show` shows a job that has succeeded; without it the job is shown like any other.
    """
    try:
        handle.wait(progress=True)
    except KeyboardInterrupt:
        say(f"\ndetached; the job goes on: unroll watch {handle.id}")
        raise typer.Exit(INTERRUPTED) from None
    except JobEndedError as ended:
        show_job(ended.job, output, followed=True)
        raise
    if show is None:
        show_job(handle.job, output, followed=True)
    else:
        show(handle)


def show_job(job: Job, output: Format, *, followed: bool = False) -> None:
    """Show one job: first the fields that all kinds have, then those of its kind.

    If the job was `followed`, what may help a job that diverged was said already.
    """
    if output is Format.JSON:
        show_json(job)
        return
    details = summary_of(job).details()
    message = job.error.message if job.error else ""
    if followed:
        details.pop("hint", None)
        message = without_hint(job, message)
    show_fields(
        {
            "job": job.id,
            "kind": job.kind,
            "name": job.name,
            "status": job.status + (f" ({job.requested} requested)" if job.requested else ""),
            "progress": describe(job),
            "estimate": None if job.status in ENDED else summary_of(job).estimate(),
            "attempt": job.attempt,
            "engine": job.environment and _engine(job.environment),
            "parent": job.parent,
            "error": job.error and f"{message} ({job.error.code})",
            "labels": job.labels or None,
            "created": job.created_at.isoformat(timespec="seconds"),
            "ended": job.ended_at and job.ended_at.isoformat(timespec="seconds"),
            **details,
        }
    )


def _engine(found: Environment) -> str:
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    return f"{found.engine} ({found.device}, {threads})"
