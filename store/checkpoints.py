"""Checkpoints: the weights of a job's networks, step by step.

A job's newest checkpoints keep their weights, as many as it asks for. So do its best one and those that a model pins or
an unfinished job reads (`prune`). The optimiser's state, which only resuming needs, is kept for the latest two, so that
another is left if one is damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from store import blobs
from store.clock import instant
from store.db import Database, db_now
from store.errors import NotFound
from store.ids import new_id
from store.paging import page
from store.tables import checkpoints, inputs, jobs, models, pins, sessions
from unroll.contract import CONTRACT_VERSION, ENDED, Certificate, Checkpoint, DType, Loss, Network, Page, TaskData

KEPT_STATES = 2
_LOSS: TypeAdapter[Loss] = TypeAdapter(Loss)


@dataclass(frozen=True)
class NewCheckpoint:
    """What a running job hands over: weights and resume state as safetensors bytes, and what the weights are."""

    step: int
    reason: Literal["periodic", "best", "last", "interrupted"]
    weights: bytes
    state: bytes
    losses: tuple[float | None, ...] | None
    best_replica: int | None
    replicas: int
    network: Network
    dtype: DType
    data: TaskData | None = None
    loss: Loss | None = None
    certificate: Certificate | None = None
    keep: int | None = None
    """How many of the job's newest checkpoints are kept; None: all."""


def write(tx: Connection, tenant: str, job_id: str, attempt: int, new: NewCheckpoint, summary: dict[str, Any]) -> str:
    """Store a checkpoint in the caller's fenced transaction, with the job's summary at its step, and return its id.

    An attempt that stops before its first step hands over the checkpoint that it started from, which then stays as it
    is.
    """
    same = select(checkpoints.c.id).where(checkpoints.c.job_id == job_id, checkpoints.c.step == new.step)
    if (earlier := tx.execute(same).scalar_one_or_none()) is not None:
        return str(earlier)
    checkpoint_id = new_id("ckpt")
    tx.execute(
        insert(checkpoints).values(
            id=checkpoint_id,
            tenant=tenant,
            job_id=job_id,
            step=new.step,
            attempt=attempt,
            reason=new.reason,
            weights_sha256=blobs.put(tx, new.weights),
            state_sha256=blobs.put(tx, new.state),
            size=len(new.weights),
            losses=None if new.losses is None else list(new.losses),
            best_replica=new.best_replica,
            replicas=new.replicas,
            certificate=new.certificate and new.certificate.model_dump(mode="json"),
            network=new.network.model_dump(mode="json"),
            dtype=new.dtype,
            data=new.data and new.data.model_dump(mode="json"),
            loss=new.loss and new.loss.model_dump(mode="json"),
            contract_version=CONTRACT_VERSION,
            summary=summary,
            created_at=db_now(),
        )
    )
    kept = (
        select(checkpoints.c.id)
        .where(checkpoints.c.job_id == job_id, checkpoints.c.state_sha256.is_not(None))
        .order_by(checkpoints.c.step.desc())
        .limit(KEPT_STATES)
    )
    tx.execute(
        update(checkpoints)
        .where(checkpoints.c.job_id == job_id, checkpoints.c.id.not_in(kept), checkpoints.c.state_sha256.is_not(None))
        .values(state_sha256=None)
    )
    return checkpoint_id


def withdraw(tx: Connection, job_id: str, after_step: int) -> int:
    """Delete checkpoints beyond a step that training goes back to, and return how many.

    They will be made again, alike.
    """
    return tx.execute(
        delete(checkpoints).where(checkpoints.c.job_id == job_id, checkpoints.c.step > after_step)
    ).rowcount


def prune(tx: Connection, job_id: str, newest: int) -> int:
    """Delete surplus checkpoints, and return how many.

    Checkpoints stay if they are among the `newest`, the best, pinned by a model, used by a session, or
    read by a job that has not ended.

    Training may go back to any checkpoint that it can resume from, and the checkpoint that is the best at that point
    must still exist. So the best up to each of them is kept as well. A checkpoint that is being pinned right now is
    left alone.
    """
    rows = _in_order(tx, job_id)
    kept = {row.id for row in rows[-newest:]}
    for end, row in enumerate(rows, 1):
        if row.state_sha256 is not None or end == len(rows):
            kept |= {row.id, *(best.id for best in _best(rows[:end]))}
    surplus = [row.id for row in rows if row.id not in kept]
    if not surplus:
        return 0
    # The rows are locked before pins are looked up, so that no checkpoint that a model serves at this moment is
    # deleted.
    locked = select(checkpoints.c.id).where(checkpoints.c.id.in_(surplus)).with_for_update(skip_locked=True)
    free = tx.execute(locked).scalars().all()
    pinned = select(models.c.id).where(models.c.pinned_checkpoint == checkpoints.c.id)
    named = select(pins.c.role).where(pins.c.checkpoint_id == checkpoints.c.id)
    streamed = select(sessions.c.id).where(sessions.c.checkpoint_id == checkpoints.c.id)
    read = (
        select(inputs.c.job_id)
        .join(jobs, jobs.c.id == inputs.c.job_id)
        .where(inputs.c.checkpoint_id == checkpoints.c.id, jobs.c.status.not_in(ENDED))
    )
    unused = (checkpoints.c.id.in_(free), ~pinned.exists(), ~named.exists(), ~streamed.exists(), ~read.exists())
    return tx.execute(delete(checkpoints).where(*unused)).rowcount


def best_and_last(tx: Connection, job_id: str) -> dict[str, Any]:
    """Compute the job row's columns about its best and last checkpoint, from the checkpoints that exist."""
    rows = _in_order(tx, job_id)
    best = next(iter(_best(rows)), None)
    return {
        "last_checkpoint": rows[-1].id if rows else None,
        "best_checkpoint": best and best.id,
        "best_replica": best and best.best_replica,
        "best_loss": best and best.losses[best.best_replica],
    }


def _in_order(tx: Connection, job_id: str) -> Sequence[Row[Any]]:
    """Return a job's checkpoints by step, with the columns that are needed to choose among them."""
    columns = checkpoints.c.id, checkpoints.c.losses, checkpoints.c.best_replica, checkpoints.c.state_sha256
    query: Select[Any] = select(*columns).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.step)
    return tx.execute(query).all()


def _best(rows: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """Return the best of them, the first if several are equal; an empty list if none was evaluated."""
    rated = [row for row in rows if row.best_replica is not None]
    return [min(rated, key=lambda row: row.losses[row.best_replica])] if rated else []


def get(db: Database, tenant: str, checkpoint_id: str) -> Checkpoint:
    """Return one checkpoint. Raises NotFound."""
    with db.read() as tx:
        return show(_row(tx, tenant, checkpoint_id))


def content(db: Database, tenant: str, checkpoint_id: str) -> tuple[str, bytes]:
    """Return the SHA-256 of the weights and the weights as safetensors. Raises NotFound, TornBlob."""
    with db.read() as tx:
        digest = _row(tx, tenant, checkpoint_id).weights_sha256
        return digest, blobs.get(tx, digest)


def list_of_job(
    db: Database, tenant: str, job_id: str, *, limit: int = 50, cursor: str | None = None
) -> Page[Checkpoint]:
    """Return a job's checkpoints, newest first. Raises NotFound."""
    with db.read() as tx:
        if tx.execute(select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.tenant == tenant)).one_or_none() is None:
            raise NotFound(f"There is no job {job_id}.")
        query = _query().where(checkpoints.c.job_id == job_id)
        # they are ordered by step, because ids depend on the clocks of the machines that made them
        return page(tx, query, checkpoints.c.step, limit=limit, cursor=cursor, show=show)


def resumable(tx: Connection, job_id: str) -> Sequence[Row[Any]]:
    """Return the checkpoints of a job that training can continue from, newest first."""
    return tx.execute(
        select(checkpoints)
        .where(checkpoints.c.job_id == job_id, checkpoints.c.state_sha256.is_not(None))
        .order_by(checkpoints.c.step.desc())
    ).all()


def _query() -> Select[Any]:
    return select(checkpoints)


def _row(tx: Connection, tenant: str, checkpoint_id: str) -> Row[Any]:
    row = tx.execute(_query().where(checkpoints.c.id == checkpoint_id, checkpoints.c.tenant == tenant)).one_or_none()
    if row is None:
        raise NotFound(f"There is no checkpoint {checkpoint_id}.")
    return row


def show(row: Row[Any]) -> Checkpoint:
    """Return a checkpoint's row as users are shown it."""
    return Checkpoint(
        id=row.id,
        job=row.job_id,
        step=row.step,
        sha256=row.weights_sha256,
        size=row.size,
        reason=row.reason,
        losses=row.losses,
        best_replica=row.best_replica,
        replicas=row.replicas,
        certificate=row.certificate,
        resumable=row.state_sha256 is not None,
        network=Network.model_validate(row.network, extra="ignore"),
        dtype=row.dtype,
        data=row.data and TaskData.model_validate(row.data, extra="ignore"),
        loss=row.loss and _LOSS.validate_python(row.loss, extra="ignore"),
        created_at=instant(row.created_at),
    )
