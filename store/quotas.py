"""Limits of keys and tenants: what a new job is held to, and what of each limit is used.

The operator sets a tenant's weight and limits (`unroll-server tenant`); nothing over HTTP changes them. The number of
jobs that run is limited where they are claimed (store/turns.py), and requests, streams and bodies where they arrive
(api/tallies.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from store import stored
from store.db import Database
from store.errors import QuotaExceeded
from store.tables import NOT_ENDED, jobs, keys, tenants
from unroll.contract import Allowance, Allowances, Limits

COUNTED = 10_000
"""Jobs are counted up to this number where no limit ends the count earlier."""


LONG = 3600
"""Seconds after which it may be worth trying again where only people can make room."""


@dataclass(frozen=True)
class Standing:
    """A tenant's weight and limits."""

    tenant: str
    weight: int = 1
    limits: Limits = field(default_factory=Limits)


def of_tenant(tx: Connection, tenant: str) -> Standing:
    """Return the weight and the limits that a tenant has."""
    row = tx.execute(select(tenants).where(tenants.c.tenant == tenant)).one_or_none()
    return Standing(tenant) if row is None else _standing(row)


def list_tenants(db: Database) -> list[Standing]:
    """Return every tenant with a weight or limits of its own."""
    with db.read() as tx:
        return [_standing(row) for row in tx.execute(select(tenants).order_by(tenants.c.tenant))]


def change_tenant(db: Database, tenant: str, weight: int | None, limits: Limits) -> Standing:
    """Change a tenant's weight, if one is given, and the limits that are set in `limits`; null removes a limit."""
    with db.begin() as tx:
        insert = (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(tenants)
        tx.execute(insert.values(tenant=tenant, weight=1, limits={}).on_conflict_do_nothing())
        row = tx.execute(select(tenants).where(tenants.c.tenant == tenant).with_for_update()).one()
        values = {"weight": row.weight if weight is None else weight, "limits": merged(row.limits, limits)}
        tx.execute(tenants.update().where(tenants.c.tenant == tenant).values(values))
        return of_tenant(tx, tenant)


def merged(before: Mapping[str, Any], change: Limits) -> dict[str, Any]:
    """Return stored limits after a change, without those that are null."""
    after = {**before, **change.model_dump(mode="json", exclude_unset=True)}
    return {name: value for name, value in after.items() if value is not None}


def read(found: Mapping[str, Any] | None) -> Limits:
    """Return stored limits."""
    return Limits.model_validate(found or {}, extra="ignore")


def require_room(
    tx: Connection, tenant: str, key_id: str, default: int | None, *, seconds: float = 0.0, again: bool = False
) -> None:
    """Raise QuotaExceeded if a further job of this key would exceed a limit of the key or of its tenant.

    `default` is the number of queued jobs that a key may have if it has no such limit; `seconds` is the longest time
    that the job may run. `again` says that the job counts as not ended already. Rows with limits are locked, so that
    the second of two simultaneous requests counts the first. The default alone locks nothing, so it may be exceeded by
    as many jobs as are submitted at one moment. The jobs of a revoked key are held to the limits of its tenant.
    """
    key = _locked(tx, select(keys.c.max_active_jobs, keys.c.limits).where(keys.c.id == key_id))
    of_all = _locked(tx, select(tenants.c.limits).where(tenants.c.tenant == tenant))
    if key is not None:
        most = key.max_active_jobs
        if most is not None and not again and _count(tx, jobs.c.key_id == key_id, most=most) >= most:
            raise QuotaExceeded(f"This key may have {most} jobs that have not ended.", limit="max_active_jobs")
        _require(tx, "This key", jobs.c.key_id == key_id, read(key.limits), default, seconds)
        if (most := read(key.limits).stored_bytes) is not None and stored.of_key(tx, tenant, key_id) >= most:
            raise full(most, "This key")
    if of_all is not None:
        _require(tx, "This tenant", jobs.c.tenant == tenant, read(of_all.limits), None, seconds)
        if (most := read(of_all.limits).stored_bytes) is not None and stored.of_tenant(tx, tenant) >= most:
            raise full(most, "This tenant")


def require_storage(tx: Connection, tenant: str, key_id: str) -> None:
    """Raise QuotaExceeded if a key or its tenant has stored more than it may."""
    key = tx.execute(select(keys.c.limits).where(keys.c.id == key_id)).scalar_one_or_none()
    if (most := read(key).stored_bytes) is not None and stored.of_key(tx, tenant, key_id) > most:
        raise full(most, "The job's key")
    if (most := of_tenant(tx, tenant).limits.stored_bytes) is not None and stored.of_tenant(tx, tenant) > most:
        raise full(most, "The job's tenant")


def full(most: int, who: str) -> QuotaExceeded:
    """Return the error for a limit of stored bytes that is reached."""
    return QuotaExceeded(
        f"{who} may store {most:,} bytes of checkpoints and artifacts; delete jobs that are not needed any more.",
        limit="stored_bytes",
        seconds=LONG,
    )


def allowances(
    tx: Connection,
    owner: ColumnElement[bool],
    limits: Limits,
    used_bytes: int,
    held: Mapping[str, int],
    *,
    default: int | None = None,
    sessions: int | None = None,
) -> Allowances:
    """Return every limit beside what is used. `held` has what is counted elsewhere, by the limits' names.

    `default` and `sessions` are the numbers of queued jobs and of live sessions where no limit is set.
    """
    most = limits.queued_jobs or default
    counted = {
        "queued_jobs": _count(tx, owner, jobs.c.status == "queued", most=max(COUNTED, most or 0)),
        "running_jobs": _count(tx, owner, jobs.c.status == "running", most=COUNTED),
        "stored_bytes": used_bytes,
        **held,
    }
    found = {name: Allowance(limit=getattr(limits, name), used=counted.get(name)) for name in Limits.model_fields}
    found["queued_jobs"] = Allowance(limit=most, used=counted["queued_jobs"])
    found["sessions"] = Allowance(limit=limits.sessions or sessions, used=counted.get("sessions"))
    return Allowances(**found)


def active(tx: Connection, key_id: str) -> int:
    """Return how many jobs of a key have not ended, counted up to `COUNTED`."""
    return _count(tx, jobs.c.key_id == key_id, most=COUNTED)


def _require(
    tx: Connection, who: str, owner: ColumnElement[bool], limits: Limits, default: int | None, seconds: float
) -> None:
    most = limits.queued_jobs or default
    if most is not None and _count(tx, owner, jobs.c.status == "queued", most=most) >= most:
        raise QuotaExceeded(f"{who} may have {most:,} queued jobs.", limit="queued_jobs")
    if limits.job_seconds is not None and seconds > limits.job_seconds:
        raise QuotaExceeded(
            f"A job of {who.lower()} may run for {limits.job_seconds:,g} s, and this one may take {seconds:,.0f} s: "
            "set max_seconds within the limit.",
            limit="job_seconds",
            pointer="/max_seconds",
            seconds=LONG,
        )


def _count(tx: Connection, *where: ColumnElement[bool], most: int) -> int:
    """Count the jobs that have not ended, and stop at `most`."""
    found = select(literal(1)).select_from(jobs).where(NOT_ENDED, *where).limit(most).subquery()
    return tx.execute(select(func.count()).select_from(found)).scalar_one()


def _locked(tx: Connection, query: Any) -> Row[Any] | None:
    """Return a row with limits, and lock it if it has any."""
    row: Row[Any] | None = tx.execute(query).one_or_none()
    if row is None or not any(row):
        return row
    locked: Row[Any] | None = tx.execute(query.with_for_update()).one_or_none()
    return locked


def _standing(row: Row[Any]) -> Standing:
    return Standing(row.tenant, row.weight, read(row.limits))
