"""Sets the weights and limits of tenants, and the limits of keys. Nothing over HTTP can lift what is set here."""

from __future__ import annotations

import json
from typing import Any

from api.cli.failures import WRONG_SETTINGS, Failure
from api.cli.keys import database, print_columns
from store import keys, quotas
from store.quotas import Standing
from unroll.contract import ChangeKey, Limits


def read_limits(given: list[str]) -> Limits:
    """Read NAME=VALUE pairs; `null` removes a limit. Raises Failure for what is no pair, and ValidationError."""
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or name not in Limits.model_fields:
            message = f"{one!r} is not NAME=VALUE; the names are {', '.join(Limits.model_fields)}"
            raise Failure(message, WRONG_SETTINGS)
        try:
            found[name] = json.loads(value)
        except ValueError as error:
            raise Failure(f"{name}: {value!r} is no number, and not null", WRONG_SETTINGS) from error
    return Limits.model_validate(found)


def limit_key(tenant: str, key_id: str, given: list[str], max_active_jobs: str | None) -> None:
    """Change the limits of a key, and print them."""
    wanted: dict[str, Any] = {"limits": read_limits(given)}
    if max_active_jobs is not None:
        wanted["max_active_jobs"] = None if max_active_jobs == "null" else int(max_active_jobs)
    change = ChangeKey.model_validate(wanted)
    with database() as (_, db):
        key = keys.change(db, tenant, key_id, change)
    print_columns([("max_active_jobs", str(key.max_active_jobs or "-")), *_rows(key.limits)])


def limit_tenant(tenant: str, weight: int | None, given: list[str]) -> None:
    """Change a tenant's weight and limits, and print them."""
    limits = read_limits(given)
    with database() as (_, db):
        standing = quotas.change_tenant(db, tenant, weight, limits)
    print_columns([("weight", str(standing.weight)), *_rows(standing.limits)])


def show(*, as_json: bool) -> None:
    """List the tenants with a weight or limits of their own."""
    with database() as (_, db):
        found = quotas.list_tenants(db)
    if as_json:
        print(json.dumps([_plain(one) for one in found], indent=2))
        return
    set_ = [" ".join(f"{name}={value}" for name, value in _rows(one.limits)) or "-" for one in found]
    rows = [(one.tenant, str(one.weight), limits) for one, limits in zip(found, set_, strict=True)]
    print_columns([("tenant", "weight", "limits"), *rows])


def _plain(one: Standing) -> dict[str, Any]:
    return {"tenant": one.tenant, "weight": one.weight, "limits": one.limits.model_dump(mode="json")}


def _rows(limits: Limits) -> list[tuple[str, str]]:
    return [(name, f"{value:,g}" if value < 1e6 else str(value)) for name, value in limits if value is not None]
