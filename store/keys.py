"""API keys: 256 random bits that are shown once, and stored as a keyed hash beside a public prefix for look-up."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from store import jobs
from store.clock import instant
from store.db import Database, db_now
from store.errors import InvalidRequest, KeyExpired, NotFound, Unauthorized
from store.ids import new_id
from store.paging import page
from store.tables import keys
from unroll.contract import ChangeKey, CreatedKey, Key, Me, NewKey, Page, Scope

PREFIX_CHARACTERS = 12
USED_EVERY_SECONDS = 60.0
"""Interval at which last_used_at is updated, so that not every request writes to the database."""


@dataclass(frozen=True)
class Identity:
    """The key and the tenant that make a request."""

    key_id: str
    tenant: str
    scopes: frozenset[Scope]


def create(db: Database, hash_secret: bytes, tenant: str, new: NewKey) -> CreatedKey:
    """Create a key. Its secret is only in this answer.

    Raises InvalidRequest for an expiry without time zone.
    """
    public = secrets.token_hex(PREFIX_CHARACTERS // 2)
    secret = f"unroll_{public}_{secrets.token_urlsafe(32)}"
    values = {
        "id": new_id("key"),
        "tenant": tenant,
        "name": new.name,
        "prefix": public,
        "hash": _hash(hash_secret, secret),
        "scopes": sorted(set(new.scopes)),
        "expires_at": _seconds(new.expires_at),
        "max_active_jobs": new.max_active_jobs,
        "created_at": db_now(),
    }
    with db.begin() as tx:
        row = tx.execute(insert(keys).values(values).returning(keys)).one()
    return CreatedKey(**_show(row).model_dump(), secret=secret)


def authenticate(db: Database, hash_secret: bytes, presented: str) -> Identity:
    """Return the identity that belongs to a key. Raises Unauthorized and KeyExpired."""
    public = presented.split("_")[1] if presented.count("_") >= 2 else ""  # unroll_PUBLIC_SECRET
    with db.read() as tx:
        row = tx.execute(select(keys, db_now().label("now")).where(keys.c.prefix == public)).one_or_none()
    # the hash is computed and compared for an unknown prefix too: the time must not tell
    known = row.hash if row is not None else bytes(32)
    if not hmac.compare_digest(_hash(hash_secret, presented), known) or row is None:
        raise Unauthorized
    if row.expires_at is not None and row.expires_at <= row.now:
        raise KeyExpired(f"The key {row.name} expired at {instant(row.expires_at).isoformat()}.")
    if row.last_used_at is None or row.last_used_at < row.now - USED_EVERY_SECONDS:
        with db.begin() as tx:
            tx.execute(update(keys).where(keys.c.id == row.id).values(last_used_at=db_now()))
    return Identity(row.id, row.tenant, frozenset(row.scopes))


def able(db: Database, key_ids: Collection[str], scope: Scope) -> set[str]:
    """Return those of the keys that are still valid and have the scope."""
    query = select(keys.c.id, keys.c.scopes, keys.c.expires_at, db_now().label("now")).where(keys.c.id.in_(key_ids))
    with db.read() as tx:
        rows = tx.execute(query).all()
    return {row.id for row in rows if scope in row.scopes and (row.expires_at is None or row.expires_at > row.now)}


def get(db: Database, tenant: str, key_id: str) -> Key:
    """Return one key. Raises NotFound."""
    with db.read() as tx:
        return _show(_get(tx, tenant, key_id))


def list_(db: Database, tenant: str, *, limit: int = 50, cursor: str | None = None) -> Page[Key]:
    """Return the tenant's keys, newest first."""
    with db.read() as tx:
        query = select(keys).where(keys.c.tenant == tenant)
        return page(tx, query, keys.c.id, limit=limit, cursor=cursor, show=_show)


def change(db: Database, tenant: str, key_id: str, wanted: ChangeKey) -> Key:
    """Change the fields that were sent. Raises NotFound and InvalidRequest."""
    values = wanted.model_dump(exclude_unset=True)
    for name in ("name", "scopes"):
        if name in values and values[name] is None:
            raise InvalidRequest(f"A key's {name} cannot be null.", pointer=f"/{name}")
    if "expires_at" in values:
        values["expires_at"] = _seconds(wanted.expires_at)
    with db.begin() as tx:
        _get(tx, tenant, key_id)
        if values:
            tx.execute(update(keys).where(keys.c.id == key_id).values(values))
        return _show(_get(tx, tenant, key_id))


def remove(db: Database, tenant: str, key_id: str) -> None:
    """Revoke a key at once. Jobs that it submitted continue. Raises NotFound."""
    with db.begin() as tx:
        _get(tx, tenant, key_id)
        tx.execute(delete(keys).where(keys.c.id == key_id))


def me(db: Database, identity: Identity) -> Me:
    """Return the key of the request and how much of its quota is used."""
    with db.read() as tx:
        return Me(key=_show(_get(tx, identity.tenant, identity.key_id)), active_jobs=jobs.active(tx, identity.key_id))


def _hash(hash_secret: bytes, secret: str) -> bytes:
    return hmac.new(hash_secret, secret.encode(), hashlib.sha256).digest()


def _seconds(moment: datetime | None) -> float | None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidRequest("The time needs a time zone, for example a trailing Z.", pointer="/expires_at")
    return None if moment is None else moment.timestamp()


def _get(tx: Connection, tenant: str, key_id: str) -> Row[Any]:
    row = tx.execute(select(keys).where(keys.c.id == key_id, keys.c.tenant == tenant)).one_or_none()
    if row is None:
        raise NotFound(f"There is no key {key_id}.")
    return row


def _show(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        tenant=row.tenant,
        scopes=row.scopes,
        prefix=f"unroll_{row.prefix}",
        expires_at=instant(row.expires_at),
        max_active_jobs=row.max_active_jobs,
        created_at=instant(row.created_at),
        last_used_at=instant(row.last_used_at),
    )
