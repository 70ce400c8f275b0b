"""Sessions: hidden states of live streams. One API process at a time owns a session and keeps its state in memory.

The fence: `take` raises the session's epoch, and `save` writes only where the epoch is still the writer's. A process
whose session was taken over by another saves nothing and learns that it has lost it. What it answered after the last
save is lost; clients see that at `durable_step` and send those steps again (docs/adr/0022).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from store import quotas
from store.clock import instant
from store.db import Database, db_now
from store.errors import InvalidRequest, NotFound, QuotaExceeded, SessionExpired
from store.ids import new_id
from store.paging import page
from store.tables import keys, sessions
from unroll.contract import Page, Session

MOST_OF_A_KEY = 1000
"""Largest number of live sessions of a key without a limit of its own."""
KEPT_SECONDS = 24 * 3600.0
"""Seconds after its expiry during which a session is still known as expired."""


@dataclass(frozen=True)
class Saved:
    """A session's state after some steps, and the last request with its answer."""

    id: str
    epoch: int
    step: int
    state: bytes | None
    asked_at: int | None
    asked_hash: bytes | None
    answer: bytes | None


@dataclass(frozen=True)
class Owned:
    """A session that this process owns now, as it was saved."""

    saved: Saved
    session: Session
    key_id: str
    seconds_left: float


def create(
    db: Database,
    tenant: str,
    key_id: str,
    owner: str,
    *,
    model: str | None,
    checkpoint: str,
    replica: int | None,
    sequences: int,
    ttl: float,
    step: int = 0,
    state: bytes | None = None,
    correlation: tuple[str, str] | None = None,
) -> Owned:
    """Create a session that `owner` owns. `replica` None means all of them.

    `correlation` is a name of the client's own for a model's session; an earlier session of this name ends.

    Raises QuotaExceeded if the key or its tenant has as many sessions as it may, and InvalidRequest if the checkpoint
    was deleted.
    """
    now = db_now()
    values = {
        "id": new_id("session"),
        "tenant": tenant,
        "key_id": key_id,
        "model_name": model,
        "checkpoint_id": checkpoint,
        "replica": replica,
        "sequences": sequences,
        "ttl": ttl,
        "owner": owner,
        "epoch": 1,
        "step": step,
        "state": state,
        "correlation": None if correlation is None else correlation_of(*correlation),
        "created_at": now,
        "expires_at": now + ttl,
    }
    try:
        with db.begin() as tx:
            _require_room(tx, tenant, key_id)
            if correlation is not None:
                tx.execute(delete(sessions).where(*_correlated(tenant, *correlation)))
            row = tx.execute(insert(sessions).values(values).returning(sessions, db_now().label("now"))).one()
    except IntegrityError:
        raise InvalidRequest(f"There is no checkpoint {checkpoint}.", pointer="/checkpoint") from None
    return _owned(row)


def _require_room(tx: Connection, tenant: str, key_id: str) -> None:
    limits = quotas.read(tx.execute(select(keys.c.limits).where(keys.c.id == key_id)).scalar_one_or_none())
    most = limits.sessions or MOST_OF_A_KEY
    if of_key(tx, key_id, most) >= most:
        raise QuotaExceeded(f"This key may have {most:,} sessions at once.", limit="sessions", seconds=60)
    of_all = quotas.of_tenant(tx, tenant).limits.sessions
    if of_all is not None and of_tenant(tx, tenant, of_all) >= of_all:
        raise QuotaExceeded(f"This tenant may have {of_all:,} sessions at once.", limit="sessions", seconds=60)


def of_key(tx: Connection, key_id: str, most: int = quotas.COUNTED) -> int:
    """Return how many live sessions a key has, counted up to `most`."""
    return _count(tx, sessions.c.key_id == key_id, most)


def of_tenant(tx: Connection, tenant: str, most: int = quotas.COUNTED) -> int:
    """Return how many live sessions a tenant has, counted up to `most`."""
    return _count(tx, sessions.c.tenant == tenant, most)


def _count(tx: Connection, owner: Any, most: int) -> int:
    mine = select(literal(1)).select_from(sessions).where(owner, sessions.c.expires_at > db_now()).limit(most)
    return tx.execute(select(func.count()).select_from(mine.subquery())).scalar_one()


def correlation_of(model: str, name: str) -> str:
    """Return the one text under which a client's own name for a model's session is stored."""
    return f"{model} {name}"


def named(db: Database, tenant: str, model: str, name: str) -> str | None:
    """Return the id of the session that a client has given this name; None if there is none."""
    with db.read() as tx:
        return tx.execute(select(sessions.c.id).where(*_correlated(tenant, model, name))).scalar_one_or_none()


def _correlated(tenant: str, model: str, name: str) -> tuple[Any, Any]:
    return sessions.c.tenant == tenant, sessions.c.correlation == correlation_of(model, name)


def get(db: Database, tenant: str, session_id: str) -> Session:
    """Return a session as it was saved last. Raises NotFound."""
    with db.read() as tx:
        row = tx.execute(_of(tenant, session_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no session {session_id}.")
    return show(row)


def list_(db: Database, tenant: str, *, limit: int = 50, cursor: str | None = None) -> Page[Session]:
    """Return the tenant's sessions that have not expired, newest first, as they were saved last."""
    query = select(sessions).where(sessions.c.tenant == tenant, sessions.c.expires_at > db_now())
    with db.read() as tx:
        return page(tx, query, sessions.c.id, limit=limit, cursor=cursor, show=show)


@dataclass(frozen=True)
class Seen:
    """Who owns a session, and what was saved of it."""

    owner: str | None
    epoch: int
    step: int


def look(db: Database, tenant: str, session_id: str) -> Seen:
    """Return who owns a session. Raises NotFound and SessionExpired."""
    with db.read() as tx:
        row = tx.execute(_of(tenant, session_id)).one_or_none()
    _there(row, session_id)
    assert row is not None  # noqa: S101
    return Seen(row.owner, row.epoch, row.step)


def take(db: Database, tenant: str, session_id: str, owner: str) -> Owned:
    """Become the session's owner, whoever was. Raises NotFound and SessionExpired."""
    with db.begin() as tx:
        row = tx.execute(
            update(sessions)
            .where(sessions.c.id == session_id, sessions.c.tenant == tenant, sessions.c.expires_at > db_now())
            .values(owner=owner, epoch=sessions.c.epoch + 1)
            .returning(sessions, db_now().label("now"))
        ).one_or_none()
        if row is None:
            _there(tx.execute(_of(tenant, session_id)).one_or_none(), session_id)
            raise NotFound(f"There is no session {session_id}.")
    return _owned(row)


def save(db: Database, several: Iterable[Saved]) -> set[str]:
    """Save sessions, each if its epoch is still the saved one. Return the ids of those that another process took."""
    lost = set()
    with db.begin() as tx:
        for one in several:
            values = {
                "step": one.step,
                "state": one.state,
                "asked_at": one.asked_at,
                "asked_hash": one.asked_hash,
                "answer": one.answer,
                "expires_at": db_now() + sessions.c.ttl,
            }
            mine = (sessions.c.id == one.id, sessions.c.epoch == one.epoch)
            if not tx.execute(update(sessions).where(*mine).values(values)).rowcount:
                lost.add(one.id)
    return lost


def remove(db: Database, tenant: str, session_id: str) -> None:
    """Delete a session. Raises NotFound."""
    with db.begin() as tx:
        mine = (sessions.c.id == session_id, sessions.c.tenant == tenant)
        if not tx.execute(delete(sessions).where(*mine)).rowcount:
            raise NotFound(f"There is no session {session_id}.")


def forget_expired(db: Database) -> int:
    """Delete sessions that expired long ago, and return how many."""
    with db.begin() as tx:
        return tx.execute(delete(sessions).where(sessions.c.expires_at < db_now() - KEPT_SECONDS)).rowcount


def show(row: Row[Any]) -> Session:
    """Return a session as users see it."""
    return Session(
        id=row.id,
        model=row.model_name,
        checkpoint=row.checkpoint_id,
        replica="all" if row.replica is None else row.replica,
        sequences=row.sequences,
        step=row.step,
        durable_step=row.step,
        ttl=row.ttl,
        created_at=instant(row.created_at),
        expires_at=instant(row.expires_at),
    )


def _of(tenant: str, session_id: str) -> Any:
    return select(sessions, db_now().label("now")).where(sessions.c.id == session_id, sessions.c.tenant == tenant)


def _there(row: Row[Any] | None, session_id: str) -> None:
    if row is None:
        raise NotFound(f"There is no session {session_id}.")
    if row.expires_at <= row.now:
        raise SessionExpired(f"The session expired at {instant(row.expires_at).isoformat()}.")


def _owned(row: Row[Any]) -> Owned:
    saved = Saved(row.id, row.epoch, row.step, row.state, row.asked_at, row.asked_hash, row.answer)
    return Owned(saved, show(row), row.key_id, row.expires_at - row.now)
