"""What jobs read: checkpoints of other jobs. A checkpoint that an unfinished job reads is not pruned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from store import blobs
from store.checkpoints import show
from store.db import Database
from store.errors import InputGone, InvalidRequest
from store.tables import checkpoints, inputs
from unroll.contract import Checkpoint


@dataclass(frozen=True)
class CheckpointRead:
    """A checkpoint that a job reads, with its content."""

    about: Checkpoint
    weights: bytes


def find(db: Database, tenant: str, read: Mapping[str, str]) -> dict[str, Checkpoint]:
    """Return the checkpoints that a job would read, by id. `read` has their ids by JSON Pointers.

    Raises InvalidRequest, with the pointer, for one that is not there.
    """
    found: dict[str, Checkpoint] = {}
    if not read:
        return found
    with db.read() as tx:
        for pointer, checkpoint_id in read.items():
            mine = (checkpoints.c.id == checkpoint_id, checkpoints.c.tenant == tenant)
            row = tx.execute(select(checkpoints).where(*mine)).one_or_none()
            if row is None:
                raise InvalidRequest(f"There is no checkpoint {checkpoint_id}.", pointer=pointer)
            found[checkpoint_id] = show(row)
    return found


def add(tx: Connection, tenant: str, job_id: str, read: Mapping[str, str]) -> None:
    """Record the checkpoints that a job reads, by JSON Pointers to the fields that name them.

    Their rows are locked, so that none is pruned at this moment. Raises InvalidRequest for one that is not there.
    """
    lock(tx, tenant, read)
    for checkpoint_id in set(read.values()):
        tx.execute(insert(inputs).values(job_id=job_id, checkpoint_id=checkpoint_id))


def lock(tx: Connection, tenant: str, read: Mapping[str, str]) -> None:
    """Lock the checkpoints that a job reads, against being deleted. Raises InvalidRequest for one that is not there."""
    for pointer, checkpoint_id in read.items():
        row = select(checkpoints.c.id).where(checkpoints.c.id == checkpoint_id, checkpoints.c.tenant == tenant)
        if tx.execute(row.with_for_update(read=True, key_share=True)).first() is None:
            raise InvalidRequest(f"There is no checkpoint {checkpoint_id}.", pointer=pointer)


def gone(tx: Connection, job_id: str) -> str | None:
    """Return the id of a checkpoint that the job reads and that was deleted; None: all are there."""
    there = select(checkpoints.c.id).where(checkpoints.c.id == inputs.c.checkpoint_id)
    return tx.execute(
        select(inputs.c.checkpoint_id).where(inputs.c.job_id == job_id, ~there.exists()).limit(1)
    ).scalar_one_or_none()


def load(tx: Connection, tenant: str, job_id: str) -> dict[str, CheckpointRead]:
    """Return what a job reads, by checkpoint id. Raises InputGone, and TornBlob for damaged content."""
    if (missing := gone(tx, job_id)) is not None:
        raise InputGone(f"The checkpoint {missing} was deleted.")
    rows = tx.execute(
        select(checkpoints)
        .join(inputs, inputs.c.checkpoint_id == checkpoints.c.id)
        .where(inputs.c.job_id == job_id, checkpoints.c.tenant == tenant)
    ).all()
    named = set(tx.execute(select(inputs.c.checkpoint_id).where(inputs.c.job_id == job_id)).scalars())
    if deleted := named - {row.id for row in rows}:  # at this moment, between two statements
        raise InputGone(f"The checkpoint {min(deleted)} was deleted.")
    return {row.id: CheckpointRead(show(row), blobs.get(tx, row.weights_sha256)) for row in rows}
