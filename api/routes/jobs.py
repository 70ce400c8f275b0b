"""/v1/jobs: submit, look, wait, cancel, pause, resume, retry, delete. Nothing here knows a kind of job."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import Field

from api import catalogue, examples
from api.auth import Reader, Writer
from api.bodies import json_body
from api.errors import invalid
from api.negotiation import JSON, matches, offers, wait_seconds
from api.operations import answer, operation
from api.routes.parameters import Cursor, Limit
from api.service import CurrentService, Service
from api.streams import until
from store import inputs, jobs, logs, models
from unroll.contract import ENDED, JOB_TYPES, DryRun, Job, JobConfig, JobRequest, JobStatus, Kind, Page
from unroll.contract.limits import MAX_LABELS

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[offers(JSON)])

LONGEST_WAIT = 60
_LABEL = re.compile(r"^[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]+$")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@router.post(
    "",
    response_model=Job,
    **operation(
        "submit_job",
        "Submit a job",
        takes=(JOB_TYPES, examples.TRAIN_JOB),
        gives=(202, "The job, queued.", examples.JOB),
        also={200: answer(DryRun, "With `dry_run`: what it would be and cost.", examples.DRY_RUN)},
        problems=["missing_scope", "idempotency_key_reused"],
    ),
)
def submit_job(
    asker: Writer,
    service: CurrentService,
    body: Annotated[JobRequest, Depends(json_body(JobConfig))],
    *,
    dry_run: Annotated[bool, Query(description="Check and estimate only; nothing is stored.")] = False,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="With the same key and body, the same job is answered. Up to 255 characters.",
            json_schema_extra={"pattern": f"^{_IDEMPOTENCY_KEY.pattern}$"},
        ),
    ] = None,
    confirm_long: Annotated[
        bool, Query(description="Accept a job that is estimated to take more than a day, without `max_seconds`.")
    ] = False,
    traceparent: Annotated[str | None, Header(description="W3C trace context; in the worker's log lines.")] = None,
) -> Response:
    """Submit a job. It is stored when this answers, and runs when a worker is free."""
    if idempotency_key is not None and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise invalid("#Idempotency-Key", "invalid", "1 to 255 printable ASCII characters without spaces.")
    idempotency = None if idempotency_key is None or dry_run else (idempotency_key, jobs.body_hash(body))
    # this comes first, because the model may have been deleted since the job was submitted
    if idempotency is not None and (earlier := jobs.submitted(service.db, asker.tenant, idempotency)) is not None:
        return _accepted(service, earlier, replayed=True)
    model_id, name, config = None, body.model_named(), body
    if name is not None:
        model_id, network = models.resolve(service.db, asker.tenant, name)
        config = body.with_model(network)
    read = inputs.find(service.db, asker.tenant, body.checkpoints_read())
    facts = catalogue.check(config, read, named=name is not None)
    catalogue.require_fits(config, read, facts, service.settings.job_bytes, named=name is not None)
    if not (dry_run or confirm_long):
        catalogue.require_bounded(config, facts)
    if dry_run:
        return Response(
            catalogue.estimate(config, facts, service.settings.stall_seconds).model_dump_json(), media_type=JSON
        )
    parent = next((checkpoint.job for checkpoint in read.values()), None)
    trace, driver = logs.sane(traceparent), catalogue.driver(config)
    new = jobs.NewJob(config, driver, facts.total, asdict(facts), model_id, name, parent, trace)
    job, created = jobs.submit(
        service.db,
        asker.tenant,
        asker.key_id,
        new,
        idempotency=idempotency,
        queued_by_default=service.queued_by_default,
    )
    return _accepted(service, job, replayed=not created)


def _accepted(service: Service, job: Job, *, replayed: bool) -> Response:
    if job.status == "queued":  # also when it was submitted before: that request may have died before it rang
        service.doorbell.ring(job.id, job.config.device)
    headers = {"Location": f"/v1/jobs/{job.id}"} | ({"Idempotent-Replayed": "true"} if replayed else {})
    return Response(job.model_dump_json(), 202, headers, JSON)


@router.get(
    "",
    **operation(
        "list_jobs",
        "Jobs, newest first",
        gives=(200, "A page.", examples.JOBS),
        problems=["missing_scope"],
    ),
)
def list_jobs(
    asker: Reader,
    service: CurrentService,
    *,
    status: Annotated[list[JobStatus], Query(max_length=100, description="Any of these; may be repeated.")] = [],  # noqa: B006
    label: Annotated[
        list[Annotated[str, Field(json_schema_extra={"pattern": _LABEL.pattern})]],
        Query(max_length=MAX_LABELS, description="`key:value`; may be repeated, then all must fit."),
    ] = [],  # noqa: B006
    kind: Kind | None = None,
    parent: Annotated[str | None, Query(description="The job whose checkpoints they read.")] = None,
    model: Annotated[str | None, Query(description="Name of the registered model.")] = None,
    name: Annotated[str | None, Query(description="The job's own name.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Job]:
    """List your tenant's jobs that match every filter."""
    labels: dict[str, str] = {}
    for one in label:
        key, _, value = one.partition(":")
        if not _LABEL.fullmatch(one):
            raise invalid("?label", "invalid", f"A label to filter by is `key:value`, not {one!r}.")
        if labels.setdefault(key, value) != value:
            return Page[Job](data=[])  # no job has two values of one label
    return jobs.list_(
        service.db,
        asker.tenant,
        limit=limit,
        cursor=cursor,
        status=status,
        labels=labels,
        kind=kind,
        model=model,
        parent=parent,
        name=None if name is None else name.strip(),
    )


@router.get(
    "/{job_id}",
    response_model=Job,
    **operation(
        "get_job",
        "One job",
        gives=(200, "The job as it is now. The ETag names this version.", examples.JOB),
        also={304: {"description": "With If-None-Match: nothing has changed."}},
        problems=["missing_scope", "not_found"],
    ),
)
async def get_job(
    job_id: str,
    request: Request,
    asker: Reader,
    service: CurrentService,
    prefer: Annotated[
        str | None,
        Header(description="`wait=N`: answer when the job has ended (with If-None-Match: changed), or after N ≤ 60 s."),
    ] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return a job. To follow it closely, use its events."""
    wait = wait_seconds(prefer, LONGEST_WAIT)

    def look() -> tuple[Job, bytes, str]:
        job = jobs.get(service.db, asker.tenant, job_id)
        content = job.model_dump_json().encode()
        return job, content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    def done(seen: tuple[Job, bytes, str]) -> bool:
        job, _, etag = seen
        return job.status in ENDED or (if_none_match is not None and not matches(if_none_match, etag))

    _, content, etag = await until(service, job_id, wait or 0, look, done, request.is_disconnected)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization, Prefer"}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=JSON, headers=headers)


@router.delete(
    "/{job_id}",
    **operation(
        "delete_job",
        "Delete an ended job",
        gives=(204, "Deleted, with its events, metrics and checkpoints.", None),
        problems=["missing_scope", "not_found", "job_not_ended"],
    ),
)
def delete_job(job_id: str, asker: Writer, service: CurrentService) -> None:
    """Delete a job. A job that has not ended is refused: cancel it first."""
    jobs.remove(service.db, asker.tenant, job_id)
    service.notifier.publish(job_id)


_MOVES: dict[str, tuple[str, str]] = {
    "cancel": ("cancel_job", "Cancel a job"),
    "pause": ("pause_job", "Pause a job"),
    "resume": ("resume_job", "Resume a paused job"),
    "retry": ("retry_job", "Retry a failed or cancelled job"),
}


def _moves(verb: str) -> dict[str, object]:
    operation_id, summary = _MOVES[verb]
    return operation(
        operation_id,
        summary,
        gives=(200, "The job as it is now.", examples.JOB),
        problems=["missing_scope", "not_found", "invalid_transition"],
    )


@router.post("/{job_id}/cancel", **_moves("cancel"))  # type: ignore[arg-type]
def cancel_job(job_id: str, asker: Writer, service: CurrentService) -> Job:
    """Cancel a job: at once if no worker has it. Otherwise `requested` shows it until the worker has stopped."""
    job = jobs.cancel(service.db, asker.tenant, job_id)
    service.notifier.publish(job_id)
    return job


@router.post("/{job_id}/pause", **_moves("pause"))  # type: ignore[arg-type]
def pause_job(job_id: str, asker: Writer, service: CurrentService) -> Job:
    """Pause a job. The worker makes a checkpoint and gives the job back."""
    job = jobs.pause(service.db, asker.tenant, job_id)
    service.notifier.publish(job_id)
    return job


@router.post("/{job_id}/resume", **_moves("resume"))  # type: ignore[arg-type]
def resume_job(job_id: str, asker: Writer, service: CurrentService) -> Job:
    """Continue from the job's last checkpoint, with the same result as without the pause."""
    job = jobs.resume(service.db, asker.tenant, job_id, queued_by_default=service.queued_by_default)
    service.doorbell.ring(job_id, job.config.device)
    service.notifier.publish(job_id)
    return job


@router.post("/{job_id}/retry", **_moves("retry"))  # type: ignore[arg-type]
def retry_job(job_id: str, asker: Writer, service: CurrentService) -> Job:
    """Queue the job again. It continues from its last good checkpoint, with its time limits anew."""
    job = jobs.retry(service.db, asker.tenant, job_id, queued_by_default=service.queued_by_default)
    service.doorbell.ring(job_id, job.config.device)
    service.notifier.publish(job_id)
    return job
