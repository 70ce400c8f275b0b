"""API keys: 256 random bits that are shown once, and stored as a keyed hash beside a public prefix for look-up."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from store import quotas, sessions, stored
from store.clock import instant
from store.db import Database, db_now
from store.errors import DatabaseUnavailable, InvalidRequest, KeyExpired, NotFound, Unauthorized
from store.ids import new_id
from store.paging import page
from store.tables import jobs, keys, tenants
from unroll.contract import ChangeKey, CreatedKey, Key, Limits, Me, NewKey, Page, Scope

PREFIX_CHARACTERS = 12
USED_EVERY_SECONDS = 60.0
"""Interval at which last_used_at is updated, so that not every request writes to the database."""


@dataclass(frozen=True)
class Identity:
    """The key and the tenant that make a request."""

    key_id: str
    tenant: str
    scopes: frozenset[Scope]
    limits: Limits = field(default_factory=Limits)
    """The key's own limits."""
    tenant_limits: Limits = field(default_factory=Limits)
    limited: bool = False
    """Whether the key has limits of its own, those of the server's defaults apart."""
    seconds_left: float | None = None
    """Seconds until the key expires; None: it does not."""


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
        "limits": quotas.merged({}, new.limits),
        "created_at": db_now(),
    }
    with db.begin() as tx:
        row = tx.execute(insert(keys).values(values).returning(keys)).one()
    return CreatedKey(**_show(row).model_dump(), secret=secret)


def authenticate(db: Database, hash_secret: bytes, presented: str) -> Identity:
    """Return the identity that belongs to a key. Raises Unauthorized and KeyExpired."""
    public = presented.split("_")[1] if presented.count("_") >= 2 else ""  # unroll_PUBLIC_SECRET
    with db.read() as tx:
        row = tx.execute(_identity().where(keys.c.prefix == public)).one_or_none()
    # the hash is computed and compared for an unknown prefix too: the time must not tell
    known = row.hash if row is not None else bytes(32)
    if not hmac.compare_digest(_hash(hash_secret, presented), known) or row is None:
        raise Unauthorized
    if row.expires_at is not None and row.expires_at <= row.now:
        raise KeyExpired(f"The key {row.name} expired at {instant(row.expires_at).isoformat()}.")
    if row.last_used_at is None or row.last_used_at < row.now - USED_EVERY_SECONDS:
        _note_use(db, row.id)
    return Identity(
        row.id,
        row.tenant,
        frozenset(row.scopes),
        quotas.read(row.limits),
        quotas.read(row.tenant_limits),
        limited=bool(row.limits) or row.max_active_jobs is not None,
        seconds_left=None if row.expires_at is None else row.expires_at - row.now,
    )


def _identity() -> Select[Any]:
    """Select keys, each with the limits of its tenant and the database's time."""
    return select(keys, tenants.c.limits.label("tenant_limits"), db_now().label("now")).outerjoin(
        tenants, tenants.c.tenant == keys.c.tenant
    )


def _note_use(db: Database, key_id: str) -> None:
    """Record the time of a key's use, if that is possible without a wait: a key is valid whatever can be written."""
    with contextlib.suppress(DatabaseUnavailable), db.begin(patience=0.0) as tx:
        tx.execute(update(keys).where(keys.c.id == key_id).values(last_used_at=db_now()))


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
    values = wanted.model_dump(exclude_unset=True, exclude={"limits"})
    for name in ("name", "scopes"):
        if name in values and values[name] is None:
            raise InvalidRequest(f"A key's {name} cannot be null.", pointer=f"/{name}")
    if "expires_at" in values:
        values["expires_at"] = _seconds(wanted.expires_at)
    with db.begin() as tx:
        before = _get(tx, tenant, key_id)
        if (limits := quotas.merged(before.limits, wanted.limits)) != before.limits:
            values["limits"] = limits
        if values:
            tx.execute(update(keys).where(keys.c.id == key_id).values(values))
        return _show(_get(tx, tenant, key_id))


def remove(db: Database, tenant: str, key_id: str) -> None:
    """Revoke a key at once. Jobs that it submitted continue. Raises NotFound."""
    with db.begin() as tx:
        _get(tx, tenant, key_id)
        tx.execute(delete(keys).where(keys.c.id == key_id))


def me(
    db: Database,
    identity: Identity,
    *,
    queued_by_default: int | None = None,
    held: Mapping[str, int] | None = None,
    held_by_tenant: Mapping[str, int] | None = None,
    in_turns: bool = True,
) -> Me:
    """Return the key of the request, and its limits and its tenant's beside what is used of them.

    `held` and `held_by_tenant` have what is counted in memory: streams, requests and bodies, by the limits' names.
    """
    tenant, key_id = identity.tenant, identity.key_id
    with db.read() as tx:
        key, of_all = _get(tx, tenant, key_id), quotas.of_tenant(tx, tenant)
        key_limits = quotas.allowances(
            tx,
            jobs.c.key_id == key_id,
            quotas.read(key.limits),
            stored.of_key(tx, tenant, key_id),
            {**(held or {}), "sessions": sessions.of_key(tx, key_id)},
            default=queued_by_default,
            sessions=sessions.MOST_OF_A_KEY,
        )
        tenant_limits = quotas.allowances(
            tx,
            jobs.c.tenant == tenant,
            of_all.limits,
            stored.of_tenant(tx, tenant),
            {**(held_by_tenant or {}), "sessions": sessions.of_tenant(tx, tenant)},
        )
        return Me(
            key=_show(key),
            active_jobs=quotas.active(tx, key_id),
            key_limits=key_limits,
            tenant_limits=tenant_limits,
            weight=of_all.weight if in_turns else None,
        )


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
        limits=quotas.read(row.limits),
        created_at=instant(row.created_at),
        last_used_at=instant(row.last_used_at),
    )
