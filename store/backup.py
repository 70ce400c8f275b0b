"""Backups: everything of an installation in one file, which is itself an SQLite database of Unroll (docs/adr/0017).

A backup is one snapshot: jobs may run meanwhile. It is restored into SQLite or PostgreSQL, whichever it came from, all
or nothing. A job that ran is queued again and goes on from its last checkpoint.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import hmac
import json
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    bindparam,
    cast,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.selectable import TableClause

from store import recovery, schema
from store.db import Database, db_now
from store.errors import BadBackup, DatabaseUnavailable, NotEmpty
from store.outages import translated
from store.settings import Settings
from store.tables import blob_chunks, blobs, jobs, metadata, workers

TABLES = tuple(table for table in metadata.sorted_tables if table is not workers)
"""What a backup holds, in an order in which rows refer to earlier ones. The workers are those of the moment."""
ROWS = 500
CHUNKS = 8
"""Number of rows in memory at once; a row of the blobs' chunks has a megabyte."""


@dataclass(frozen=True)
class About:
    """What a backup says of itself."""

    made_at: float
    revision: str
    rows: dict[str, int]
    """The number of rows of each table."""
    damaged: list[str]
    """The hashes of blobs whose content was damaged in the database itself."""
    secret: str | None
    """The secret of the key hashes, where it is kept in the data folder."""
    mark: str
    """Tells whether another secret is this one."""


def mark(secret: bytes) -> str:
    """Return what tells two secrets of key hashes apart, without revealing one."""
    return hmac.new(secret, b"the mark of a backup", hashlib.sha256).hexdigest()


def write(db: Database, settings: Settings, path: Path) -> About:
    """Write a backup in one step, readable only by its owner, and return what it holds.

    Content that is damaged already is taken along as it is, and named. Raises FileExistsError, SchemaMismatch, and
    StorageFull if there is no room for it.
    """
    schema.check(db)
    if path.exists():
        raise FileExistsError(errno.EEXIST, "the file exists already", str(path))
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        schema.migrate(Settings(database_url=f"sqlite:///{partial.absolute()}", data_dir=path.parent))
        with _file(partial) as archive, archive.begin() as into, db.snapshot() as tx:
            about = About(
                made_at=tx.execute(select(db_now())).scalar_one(),
                revision=schema.revisions()[-1],
                rows={table.name: _copy(tx, into, table) for table in TABLES},
                damaged=_damaged(into),
                secret=None if settings.secret.get_secret_value() else settings.hash_secret.decode(),
                mark=mark(settings.hash_secret),
            )
            into.exec_driver_sql("CREATE TABLE backup (about TEXT NOT NULL)")
            into.exec_driver_sql("INSERT INTO backup VALUES (?)", (json.dumps(asdict(about)),))
        _synced(partial)
        partial.rename(path)
        _synced(path.parent)
    finally:
        for left in path.parent.glob(f"{glob.escape(partial.name)}*"):
            left.unlink()
    return about


def read(path: Path) -> About:
    """Return what a backup says of itself. Raises FileNotFoundError, and BadBackup for a file that is none."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    try:
        with _file(path) as archive, archive.connect() as found:
            return About(**json.loads(found.exec_driver_sql("SELECT about FROM backup").scalar_one()))
    except (SQLAlchemyError, DatabaseUnavailable, ValueError, TypeError) as error:
        raise BadBackup(f"{path} is no backup of Unroll, or is damaged.") from error


def restore(db: Database, path: Path, *, replace: bool = False) -> About:
    """Restore a backup in one transaction: all of it, or nothing is changed.

    The backup is verified first: the file, its number of rows, and every blob by its hash. One of an older version is
    brought up to date in a copy. Raises BadBackup, SchemaMismatch, and NotEmpty for a database with rows unless they
    are to be replaced.
    """
    about = read(path)
    schema.check(db)
    with _file(path) as archive, archive.connect() as source:
        _verify(source, path, about)
    with (
        _up_to_date(path, about) as current,
        _file(current) as archive,
        archive.connect() as source,
        db.begin() as tx,
    ):
        _restore(tx, source, path, replace=replace)
    return about


@contextmanager
def _up_to_date(path: Path, about: About) -> Iterator[Path]:
    """Return the backup, or a migrated copy of an older version's. Raises SchemaMismatch for a newer one."""
    if about.revision == schema.revisions()[-1]:
        yield path
        return
    with TemporaryDirectory(dir=path.parent, prefix=".unroll-") as folder:
        copy = Path(folder) / "copy.db"
        shutil.copy(path, copy)
        schema.migrate(Settings(database_url=f"sqlite:///{copy.absolute()}", data_dir=copy.parent))
        yield copy


def _restore(tx: Connection, source: Connection, path: Path, *, replace: bool) -> None:
    used = [table.name for table in TABLES if _count(tx, table.name)]
    if used and not replace:
        raise NotEmpty(
            f"The database is not empty: it has rows in {', '.join(used)}. Restore into another one, or let the backup "
            "replace what is there (--replace)."
        )
    attempts = tx.execute(select(jobs.c.id, jobs.c.attempt)).all()
    for table in reversed(TABLES):
        tx.execute(delete(table))
    for table in TABLES:
        if (copied := _copy(source, tx, table, without=_later(table))) != _count(source, table.name):
            raise BadBackup(f"{path}: only {copied} rows of {table.name} were restored.")
    for table in TABLES:
        _point(source, tx, table)
    for job_id, attempt in attempts:  # a worker that still runs the job must not be taken for its next attempt
        tx.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.attempt < attempt).values(attempt=attempt))
    for row in tx.execute(select(jobs).where(jobs.c.status == "running")).all():
        recovery.hand_back(tx, row, "restored")


def _later(table: Table) -> list[str]:
    """Return the columns that refer to rows which are copied later: of a later table, or of the same one."""
    done = TABLES[: TABLES.index(table)]
    return [key.parent.name for key in table.foreign_keys if key.column.table not in done]


def _copy(source: Connection, target: Connection, table: Table, without: Sequence[str] = ()) -> int:
    """Copy a table's rows, with nothing in the columns `without`, and return their number.

    JSON is copied as the text that it is stored as.
    """
    size = CHUNKS if table is blob_chunks else ROWS
    columns = [cast(column, Text).label(column.name) if _is_json(column) else column for column in table.c]
    found = source.execute(select(*columns), execution_options={"yield_per": size})
    into = insert(table).values({column.name: _as_stored(target, column) for column in table.c})
    empty, count = dict.fromkeys(without), 0
    for rows in found.mappings().partitions():
        target.execute(into, [dict(row) | empty for row in rows])
        count += len(rows)
    return count


def _is_json(column: Column[Any]) -> bool:
    return isinstance(column.type, JSON)


def _as_stored(target: Connection, column: Column[Any]) -> ColumnElement[Any]:
    if not _is_json(column):
        return bindparam(column.name, type_=column.type)
    stored = bindparam(column.name, type_=Text())
    return cast(stored, JSON) if target.dialect.name == "postgresql" else stored


def _point(source: Connection, target: Connection, table: Table) -> None:
    """Fill the columns that `_copy` left empty."""
    for name in _later(table):
        column = table.c[name]
        for row_id, value in source.execute(select(table.c.id, column).where(column.is_not(None))):
            target.execute(update(table).where(table.c.id == row_id).values({name: value}))


def _count(tx: Connection, table: str) -> int:
    return int(tx.execute(select(func.count()).select_from(TableClause(table))).scalar_one())


def _damaged(tx: Connection) -> list[str]:
    """Return the hashes of the blobs whose content is not what they are filed under."""
    found = []
    for sha256, size in tx.execute(select(blobs.c.sha256, blobs.c.size)).all():
        content, length = hashlib.sha256(), 0
        chunks = select(blob_chunks.c.data).where(blob_chunks.c.sha256 == sha256).order_by(blob_chunks.c.position)
        for chunk in tx.execute(chunks, execution_options={"yield_per": 1}).scalars():
            content.update(chunk)
            length += len(chunk)
        if (content.hexdigest(), length) != (sha256, size):
            found.append(sha256)
    return found


def _verify(source: Connection, path: Path, about: About) -> None:
    try:
        said = source.exec_driver_sql("PRAGMA integrity_check").scalars().first()
        if said != "ok":
            raise BadBackup(f"{path} is damaged: {said}.")
        for name, rows in about.rows.items():
            if (count := _count(source, name)) != rows:
                raise BadBackup(f"{path} is damaged: {name} has {count} rows instead of {rows}.")
        if damaged := sorted(set(_damaged(source)) - set(about.damaged)):
            raise BadBackup(f"{path} is damaged: the content of {damaged[0]} is not what its hash says.")
    except SQLAlchemyError as error:
        raise BadBackup(f"{path} is damaged: it cannot be read.") from error


@contextmanager
def _file(path: Path) -> Iterator[Engine]:
    """Open a backup, which nobody else writes to: without a log beside the file, and synchronised by `_synced`."""
    engine = create_engine(f"sqlite:///{path.absolute()}")
    event.listen(engine, "connect", _prepare)
    try:
        with translated(path):
            yield engine
    finally:
        engine.dispose()


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in ("journal_mode=DELETE", "synchronous=OFF", "foreign_keys=OFF"):
        connection.execute(f"PRAGMA {pragma}")


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
