"""Creates and revokes keys, for anyone who can read the database's address and the server's secret."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from api.cli.failures import WRONG_SETTINGS, Failure, hash_secret, load_settings, open_database, require_data_folder
from store import keys
from store.db import Database
from store.settings import Settings
from unroll.contract import Key, Limits, NewKey


@contextmanager
def database() -> Iterator[tuple[Settings, Database]]:
    """Open the server's database for one command."""
    settings = load_settings()
    require_data_folder(settings)
    db = open_database(settings)
    try:
        yield settings, db
    finally:
        db.close()


def create(
    tenant: str,
    name: str,
    scopes: str,
    expires_days: float | None,
    max_active_jobs: int | None,
    limits: Limits,
    *,
    as_json: bool,
) -> None:
    """Create a key and print its secret."""
    if not 1 <= len(tenant) <= 100:
        raise Failure("--tenant: 1 to 100 characters", WRONG_SETTINGS)
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)
    wanted = NewKey.model_validate(
        {
            "name": name,
            "scopes": [scope.strip() for scope in scopes.split(",") if scope.strip()],
            "expires_at": expires_at,
            "max_active_jobs": max_active_jobs,
            "limits": limits,
        }
    )
    with database() as (settings, db):
        made = keys.create(db, hash_secret(settings), tenant, wanted)
    if as_json:
        print(made.model_dump_json(indent=2))
        return
    until = "for ever" if made.expires_at is None else f"until {made.expires_at:%Y-%m-%d %H:%M} UTC"
    print(f"{made.id} for {tenant}, {', '.join(made.scopes)}, valid {until}. Keep the secret:", file=sys.stderr)
    print(made.secret)


def show(tenant: str, *, as_json: bool) -> None:
    """List a tenant's keys."""
    with database() as (_, db):
        found: list[Key] = []
        cursor: str | None = None
        while True:
            page = keys.list_(db, tenant, limit=200, cursor=cursor)
            found += page.data
            if (cursor := page.next) is None:
                break
    if as_json:
        print("[" + ",\n ".join(key.model_dump_json() for key in found) + "]")
        return
    rows = [("id", "name", "prefix", "scopes", "expires", "last used")]
    for key in found:
        expires, used = (
            "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}" for moment in (key.expires_at, key.last_used_at)
        )
        rows.append((key.id, key.name, key.prefix, ",".join(key.scopes), expires, used))
    print_columns(rows)


def print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print plain columns: an id that is cut to the terminal's width could not be copied."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def revoke(tenant: str, key_id: str) -> None:
    """Revoke a key."""
    with database() as (_, db):
        keys.remove(db, tenant, key_id)
    print(f"{key_id} is revoked.")
