"""Backs the service up, restores a backup, and deletes what is old and unused."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

from api.cli.failures import WRONG_SETTINGS, Failure, hash_secret, load_settings, open_database, require_data_folder
from api.cli.up import held, write_private
from store import backup, fleet, pruning, schema
from store.backup import About
from store.clock import instant

_AGE = re.compile(r"(\d+(?:\.\d+)?)([hdw])")
_SECONDS = {"h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}
HEARTBEATS = 3.0


def write(path: Path) -> None:
    """Write a backup. Jobs may run meanwhile."""
    settings = load_settings()
    hash_secret(settings)
    db = open_database(settings)
    try:
        about = backup.write(db, settings, path)
    finally:
        db.close()
    print(f"{path}: {_told(about)}.")
    if about.secret is None:
        print("It does not hold UNROLL_SECRET, without which its keys are of no use: keep that too.", file=sys.stderr)
    else:
        print("It holds the secret of the keys' hashes; only you can read the file.", file=sys.stderr)
    if about.damaged:
        print(f"warning: damaged in the database already: {', '.join(about.damaged)}", file=sys.stderr)


def restore(path: Path, *, replace: bool) -> None:
    """Restore a backup into the database of the settings, where nothing runs."""
    settings = load_settings()
    backup.read(path)
    require_data_folder(settings)
    hash_secret(settings)
    with held(settings.data_dir) if settings.embedded else contextlib.nullcontext():
        schema.migrate(settings)
        db = open_database(settings)
        try:
            if alive := sum(fleet.count_alive(db, HEARTBEATS * settings.reconcile_seconds).values()):
                raise Failure(f"Workers are running ({alive}): stop them and the API before you restore.")
            about = backup.restore(db, path, replace=replace)
        finally:
            db.close()
        if about.secret is not None and settings.embedded and not settings.secret.get_secret_value():
            write_private(settings.data_dir / "secret", about.secret)
        elif backup.mark(hash_secret(settings)) != about.mark:
            print(
                "warning: the keys in it do not work with this server's UNROLL_SECRET: set the one of the server that "
                "made the backup, or make new keys with `unroll-server key create`",
                file=sys.stderr,
            )
    print(f"Restored {_told(about)}. Jobs that ran are queued and go on from their last checkpoints.")


def prune(age: str, tenant: str | None, *, dry_run: bool, shrink: bool, as_json: bool) -> None:
    """Delete what is older than `age` and nobody needs."""
    if (found := _AGE.fullmatch(age)) is None:
        raise Failure("--older-than: a number of hours, days or weeks, for example 12h, 30d or 8w", WRONG_SETTINGS)
    settings = load_settings()
    db = open_database(settings)
    try:
        seconds = float(found[1]) * _SECONDS[found[2]]
        pruned = pruning.prune(db, seconds, tenant=tenant, dry_run=dry_run)
        returned = db.shrink() if shrink and not dry_run else None
    finally:
        db.close()
    if as_json:
        print(json.dumps({**asdict(pruned), "dry_run": dry_run, "returned_bytes": returned}, indent=2))
        return
    print(
        f"{'Would remove' if dry_run else 'Removed'} {pruned.jobs} jobs, {pruned.checkpoints} checkpoints and "
        f"{pruned.artifacts} artifacts: {pruned.bytes / 1e6:.1f} MB of contents."
    )
    if returned is not None:
        print(f"The database's file is {returned / 1e6:.1f} MB smaller.")
    elif not dry_run and db.file is not None:
        print("Its file keeps its size and uses the room again; --shrink makes it smaller.", file=sys.stderr)
    elif shrink and not dry_run:
        print("PostgreSQL uses the room again; VACUUM FULL blob_chunks returns it to the disk.", file=sys.stderr)


def _told(about: About) -> str:
    rows = about.rows
    return (
        f"{rows['jobs']} jobs, {rows['checkpoints']} checkpoints, {rows['artifacts']} artifacts, {rows['models']} "
        f"models and {rows['keys']} keys, as of {instant(about.made_at):%Y-%m-%d %H:%M:%S} UTC"
    )
