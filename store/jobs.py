"""What users do with jobs: submit, read, cancel, pause, resume, retry, delete. What workers do is in leases.py."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from store import finding, inputs, journal, quotas, stored
from store.db import Database, db_now
from store.errors import IdempotencyKeyReused, InvalidRequest, InvalidTransition, JobNotEnded, NotFound
from store.ids import new_id
from store.job_view import show
from store.line import places
from store.paging import cursor_at, opened
from store.states import move
from store.tables import job_labels, jobs, models
from unroll.contract import CONTRACT_VERSION, ENDED, Job, JobRequest, JobStatus, Page, Requested


@dataclass(frozen=True)
class NewJob:
    """A checked job that is ready to be stored."""

    config: JobRequest
    """The full configuration, in which no registered model is named any more."""
    driver: str
    """What moves the job forward: `trainer` or `reconciler`."""
    total: int
    """Number of steps that its progress counts."""
    facts: dict[str, Any]
    """What is known about the job before it runs, as JSON. Its summary starts from these facts."""
    model_id: str | None = None
    model_name: str | None = None
    parent: str | None = None
    """The job that made what this one reads."""
    traceparent: str | None = None
    """The W3C trace context of the request, for the workers' logs."""


def body_hash(body: JobRequest) -> str:
    """Return the hash of a request in its normalised form: two bodies with the same meaning have the same hash."""
    return hashlib.sha256(json.dumps(body.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def submitted(db: Database, tenant: str, idempotency: tuple[str, str]) -> Job | None:
    """Return the job that was stored under this Idempotency-Key, whatever happened to its model; None if there is none.

    `idempotency` is the key and the body's hash. Raises IdempotencyKeyReused.
    """
    key, digest = idempotency
    with db.read() as tx:
        earlier = _by_idempotency_key(tx, tenant, key)
        return None if earlier is None else _same(tx, earlier, digest)


def submit(
    db: Database,
    tenant: str,
    key_id: str,
    new: NewJob,
    *,
    idempotency: tuple[str, str] | None = None,
    queued_by_default: int | None = None,
) -> tuple[Job, bool]:
    """Store a queued job and return (job, True).

    If the same Idempotency-Key has stored a job before, return (that job, False). `idempotency` is the key and the
    body's hash. `queued_by_default` is the number of queued jobs that a key without such a limit may have. Raises
    IdempotencyKeyReused, QuotaExceeded, and InvalidRequest if the model or a checkpoint that the job reads was deleted
    at this moment.
    """
    key, digest = idempotency or (None, None)
    try:
        with db.begin() as tx:
            if key is not None and (earlier := _by_idempotency_key(tx, tenant, key)) is not None:
                return _same(tx, earlier, digest), False
            seconds = min(new.facts.get("seconds", 0.0), new.config.max_seconds or math.inf)
            quotas.require_room(tx, tenant, key_id, queued_by_default, seconds=seconds)
            job_id = new_id("job")
            tx.execute(insert(jobs).values(_row(job_id, tenant, key_id, new, key, digest)))
            if labels := new.config.labels:
                found_by = [{"label": label, "value": value} for label, value in labels.items()]
                tx.execute(insert(job_labels).values(tenant=tenant, job_id=job_id), found_by)
            inputs.add(tx, tenant, job_id, new.config.checkpoints_read())
            journal.append(tx, job_id, [("queued", {"reason": "submitted"})])
            return _show(tx, tenant, job_id), True
    except IntegrityError:
        with db.read() as tx:
            # two requests came with one key at the same moment, and the unique index let the first one through
            if key is not None and (earlier := _by_idempotency_key(tx, tenant, key)) is not None:
                return _same(tx, earlier, digest), False
            named = new.model_id is not None
            if named and tx.execute(select(models.c.id).where(models.c.id == new.model_id)).first() is None:
                raise InvalidRequest(f"There is no model {new.model_name} any more.", pointer="/model") from None
            # or the parent was deleted, with the checkpoint that this job was to read
            inputs.lock(tx, tenant, new.config.checkpoints_read())
            raise


def _row(
    job_id: str, tenant: str, key_id: str, new: NewJob, idempotency_key: str | None, idempotency_hash: str | None
) -> dict[str, Any]:
    config = new.config
    return {
        "id": job_id,
        "tenant": tenant,
        "key_id": key_id,
        "kind": config.kind,
        "name": config.name,
        "model_id": new.model_id,
        "model_name": new.model_name,
        "config": config.model_dump(mode="json"),
        "contract_version": CONTRACT_VERSION,
        "driver": new.driver,
        "facts": new.facts,
        "summary": {},
        "latest": {},
        "parent_id": new.parent,
        "labels": config.labels,
        "priority": config.priority,
        "device": config.device,
        "idempotency_key": idempotency_key,
        "idempotency_hash": idempotency_hash,
        "traceparent": new.traceparent,
        "status": "queued",
        "attempt": 0,
        "crashes": 0,
        "last_seq": 0,
        "step": 0,
        "total": new.total,
        "created_at": db_now(),
        "queued_at": db_now(),
    }


def _by_idempotency_key(tx: Connection, tenant: str, key: str) -> Row[Any] | None:
    return tx.execute(select(jobs).where(jobs.c.tenant == tenant, jobs.c.idempotency_key == key)).one_or_none()


def _same(tx: Connection, earlier: Row[Any], digest: str | None) -> Job:
    if earlier.idempotency_hash != digest:
        raise IdempotencyKeyReused(pointer="#Idempotency-Key")
    return _shown(tx, earlier)


def get(db: Database, tenant: str, job_id: str) -> Job:
    """Return one job. Raises NotFound."""
    with db.read() as tx:
        return _show(tx, tenant, job_id)


def list_(
    db: Database,
    tenant: str,
    *,
    limit: int = 50,
    cursor: str | None = None,
    status: Sequence[JobStatus] = (),
    labels: Mapping[str, str] | None = None,
    kind: str | None = None,
    model: str | None = None,
    parent: str | None = None,
    name: str | None = None,
) -> Page[Job]:
    """Return the tenant's jobs, newest first, that match every given filter.

    With several filters, a page looks at a bounded number of jobs (store/finding.py), so it may have fewer than `limit`
    jobs, or none, although more follow: `next` tells.
    """
    before = None if cursor is None else opened(cursor, str)
    wanted = finding.Wanted(tenant, status, labels or {}, kind=kind, model=model, parent=parent, name=name)
    with db.read() as tx:
        rows, end = finding.newest(tx, wanted, before, limit)
        place_of = places(tx, rows)
        return Page(
            data=[show(row, place_of.get(row.id)) for row in rows], next=None if end is None else cursor_at(end)
        )


def cancel(db: Database, tenant: str, job_id: str) -> Job:
    """Cancel a job: at once if no worker has it, otherwise by request. Cancelling twice is no error.

    Raises NotFound, InvalidTransition.
    """
    with db.begin() as tx:
        job = _locked(tx, tenant, job_id)
        match job.status:
            case "queued" | "paused":
                move(tx, job_id, job.status, "cancelled")
                journal.append(tx, job_id, [("end", {"status": "cancelled", "error": None})])
            case "running" if job.requested != "cancel":
                _request(tx, job_id, "cancel")
                journal.append(tx, job_id, [("cancel_requested", {})])
            case "succeeded" | "failed":
                raise InvalidTransition(f"The job has {job.status}; there is nothing to cancel.")
        return _show(tx, tenant, job_id)


def pause(db: Database, tenant: str, job_id: str) -> Job:
    """Pause a job: the worker makes a checkpoint and gives the job back. Pausing twice is no error.

    Raises NotFound, InvalidTransition.
    """
    with db.begin() as tx:
        job = _locked(tx, tenant, job_id)
        match job.status:
            case "queued":
                move(tx, job_id, "queued", "paused")
                journal.append(tx, job_id, [("paused", {"step": job.step})])
            case "running" if job.requested is None:
                _request(tx, job_id, "pause")
                journal.append(tx, job_id, [("pause_requested", {})])
            case "running" if job.requested == "cancel":
                raise InvalidTransition("The job is being cancelled.")
            case "succeeded" | "failed" | "cancelled":
                raise InvalidTransition(f"The job has ended ({job.status}); there is nothing to pause.")
        return _show(tx, tenant, job_id)


def resume(db: Database, tenant: str, job_id: str, *, queued_by_default: int | None = None) -> Job:
    """Queue a paused job again, or withdraw a pause that the worker has not yet acted on.

    Raises NotFound, InvalidTransition, and QuotaExceeded of the key that submitted the job.
    """
    with db.begin() as tx:
        job = _locked(tx, tenant, job_id)
        match job.status:
            case "paused":
                quotas.require_room(tx, tenant, job.key_id, queued_by_default, again=True)
                move(tx, job_id, "paused", "queued")
                journal.append(tx, job_id, [("queued", {"reason": "resumed"})])
            case "running" if job.requested == "pause":
                _request(tx, job_id, None)
            case "running" if job.requested == "cancel":
                raise InvalidTransition("The job is being cancelled.")
            case "succeeded" | "failed" | "cancelled":
                raise InvalidTransition(
                    f"The job has ended ({job.status}); retry goes on with a failed or cancelled one."
                )
        return _show(tx, tenant, job_id)


def retry(db: Database, tenant: str, job_id: str, *, queued_by_default: int | None = None) -> Job:
    """Queue a failed or cancelled job again. It continues from its last good checkpoint, with its time limits anew.

    Raises NotFound, InvalidTransition, and QuotaExceeded of the key that submitted the job.
    """
    with db.begin() as tx:
        job = _locked(tx, tenant, job_id)
        if job.status not in {"failed", "cancelled"}:
            raise InvalidTransition(f"Only a failed or cancelled job can be retried; this one is {job.status}.")
        quotas.require_room(tx, tenant, job.key_id, queued_by_default)
        move(tx, job_id, job.status, "queued", crashes=0, ran_seconds=0.0)
        journal.append(tx, job_id, [("queued", {"reason": "retried"})])
        return _show(tx, tenant, job_id)


def remove(db: Database, tenant: str, job_id: str) -> None:
    """Delete an ended job with its events, metrics, checkpoints and artifacts. Raises NotFound, JobNotEnded."""
    with db.begin() as tx:
        job = _locked(tx, tenant, job_id)
        if job.status not in ENDED:
            raise JobNotEnded(f"The job is {job.status}; cancel it first.")
        stored.forget(tx, job)
        tx.execute(delete(jobs).where(jobs.c.id == job_id))


def _request(tx: Connection, job_id: str, requested: Requested | None) -> None:
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(requested=requested))


def _get(tx: Connection, tenant: str, job_id: str, *, lock: bool = False) -> Row[Any]:
    query = select(jobs).where(jobs.c.id == job_id, jobs.c.tenant == tenant)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return row


def _show(tx: Connection, tenant: str, job_id: str) -> Job:
    return _shown(tx, _get(tx, tenant, job_id))


def _shown(tx: Connection, row: Row[Any]) -> Job:
    return show(row, places(tx, [row]).get(row.id))


def _locked(tx: Connection, tenant: str, job_id: str) -> Row[Any]:
    return _get(tx, tenant, job_id, lock=True)  # SQLite: the whole database is locked already
