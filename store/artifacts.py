"""Artifacts: the named files that jobs make besides metrics and checkpoints. Their content lies in the blobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from store import blobs
from store.clock import instant
from store.db import Database, db_now
from store.errors import NotFound
from store.tables import artifacts, jobs
from unroll.contract import Artifact

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class NewArtifact:
    """A file that a running job hands over."""

    name: str
    media_type: str
    content: bytes

    def __post_init__(self) -> None:
        """Raise ValueError for a name that could not stand in an address and in a header."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"an artifact's name has letters, digits, dots, underscores and hyphens, not {self.name!r}"
            )


def write(tx: Connection, job_id: str, attempt: int, step: int, new: NewArtifact) -> dict[str, Any]:
    """Store an artifact in the caller's fenced transaction, and return the data of its journal entry.

    An artifact of the same name is replaced.
    """
    digest = blobs.put(tx, new.content)
    tx.execute(delete(artifacts).where(artifacts.c.job_id == job_id, artifacts.c.name == new.name))
    about = {"name": new.name, "media_type": new.media_type, "size": len(new.content), "sha256": digest}
    tx.execute(insert(artifacts).values(job_id=job_id, step=step, attempt=attempt, created_at=db_now(), **about))
    return about


def has(tx: Connection, job_id: str, attempt: int, step: int, new: NewArtifact) -> bool:
    """Return whether this attempt has written this artifact at this step, and not an earlier one of its name."""
    same = {"job_id": job_id, "attempt": attempt, "step": step, "name": new.name, "sha256": blobs.digest(new.content)}
    return tx.execute(select(artifacts.c.name).filter_by(**same)).first() is not None


def withdraw(tx: Connection, job_id: str, after_step: int) -> int:
    """Delete artifacts made beyond a step that the job goes back to, and return how many."""
    return tx.execute(delete(artifacts).where(artifacts.c.job_id == job_id, artifacts.c.step > after_step)).rowcount


def list_of_job(db: Database, tenant: str, job_id: str) -> list[Artifact]:
    """Return a job's artifacts by name. Raises NotFound."""
    with db.read() as tx:
        if tx.execute(select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.tenant == tenant)).one_or_none() is None:
            raise NotFound(f"There is no job {job_id}.")
        rows = tx.execute(select(artifacts).where(artifacts.c.job_id == job_id).order_by(artifacts.c.name)).all()
    return [_show(row) for row in rows]


def get(db: Database, tenant: str, job_id: str, name: str) -> Artifact:
    """Return what is known of one artifact. Raises NotFound."""
    with db.read() as tx:
        return _show(_row(tx, tenant, job_id, name))


def content(db: Database, tenant: str, job_id: str, name: str, sha256: str) -> bytes:
    """Return an artifact's content. Raises NotFound where it is not this content any more, and TornBlob."""
    with db.read() as tx:
        if _row(tx, tenant, job_id, name).sha256 != sha256:
            raise NotFound(f"The artifact {name} of job {job_id} was replaced.")
        return blobs.get(tx, sha256)


def _row(tx: Connection, tenant: str, job_id: str, name: str) -> Row[Any]:
    row = tx.execute(
        select(artifacts)
        .join(jobs, jobs.c.id == artifacts.c.job_id)
        .where(jobs.c.tenant == tenant, artifacts.c.job_id == job_id, artifacts.c.name == name)
    ).one_or_none()
    if row is None:
        raise NotFound(f"Job {job_id} has no artifact {name}.")
    return row


def _show(row: Row[Any]) -> Artifact:
    return Artifact(
        name=row.name,
        media_type=row.media_type,
        size=row.size,
        sha256=row.sha256,
        created_at=instant(row.created_at),
    )
