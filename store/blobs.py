"""Content-addressed storage: bytes are cut into chunks, filed under their SHA-256, and checked at every read."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from store.db import Database
from store.errors import TornBlob
from store.tables import artifacts, blob_chunks, blobs, checkpoints

CHUNK_BYTES = 1 << 20
SWEPT = 1000
"""Number of blobs that one call of `sweep` looks at, so that it does not take longer the more there are."""


def digest(content: bytes) -> str:
    """Return the hash that content is filed under: its SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def put(tx: Connection, content: bytes) -> str:
    """Store content and return its SHA-256. The same content is stored once."""
    name = digest(content)
    insert_blob = (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(blobs)
    upsert = insert_blob.values(sha256=name, size=len(content))
    # DO UPDATE, not DO NOTHING: it locks the row, so that the garbage collector cannot take it away meanwhile
    tx.execute(upsert.on_conflict_do_update(index_elements=["sha256"], set_={"size": len(content)}))
    if tx.execute(select(blob_chunks.c.position).where(blob_chunks.c.sha256 == name).limit(1)).first() is None:
        for position, start in enumerate(range(0, len(content), CHUNK_BYTES)):
            chunk = content[start : start + CHUNK_BYTES]
            tx.execute(insert(blob_chunks).values(sha256=name, position=position, data=chunk))
    return name


def get(tx: Connection, sha256: str) -> bytes:
    """Return the content filed under a hash. Raises TornBlob where it is not that content any more."""
    chunks = tx.execute(
        select(blob_chunks.c.data).where(blob_chunks.c.sha256 == sha256).order_by(blob_chunks.c.position)
    ).scalars()
    content = b"".join(chunks)
    if digest(content) != sha256:
        raise TornBlob(f"The stored content of {sha256} is damaged.")
    return content


def collect_garbage(db: Database) -> int:
    """Delete all blobs that no checkpoint and no artifact names, and return how many."""
    deleted, after = sweep(db)
    while after:
        more, after = sweep(db, after)
        deleted += more
    return deleted


def sweep(db: Database, after: str = "") -> tuple[int, str]:
    """Look at the next SWEPT blobs after a hash, and delete those that no checkpoint and no artifact names.

    Returns how many were deleted, and the hash after which to go on; empty at the end. A blob that a writer takes up
    again at this moment is left for the next time.
    """
    piece = select(blobs.c.sha256).where(blobs.c.sha256 > after).order_by(blobs.c.sha256).limit(SWEPT)
    as_weights = select(checkpoints.c.id).where(checkpoints.c.weights_sha256 == blobs.c.sha256)
    as_state = select(checkpoints.c.id).where(checkpoints.c.state_sha256 == blobs.c.sha256)
    as_artifact = select(artifacts.c.job_id).where(artifacts.c.sha256 == blobs.c.sha256)
    unnamed = (~as_weights.exists(), ~as_state.exists(), ~as_artifact.exists())
    with db.read() as tx:
        names = tx.execute(piece).scalars().all()
        if not names:
            return 0, ""
        unneeded = select(blobs.c.sha256).where(blobs.c.sha256 > after, blobs.c.sha256 <= names[-1], *unnamed)
        found = tx.execute(unneeded.limit(1)).first() is not None
    return _delete(db, unneeded) if found else 0, names[-1] if len(names) == SWEPT else ""


def _delete(db: Database, unneeded: Select[Any]) -> int:
    try:
        with db.begin() as tx:
            # skip what a writer holds: waiting for it while holding others could be a deadlock
            free = tx.execute(unneeded.with_for_update(skip_locked=True)).scalars().all()
            return tx.execute(delete(blobs).where(blobs.c.sha256.in_(free))).rowcount
    except IntegrityError:
        return 0
