"""What a driver's error means: an outage that passes, a disk that is full or broken, a database that only reads.

A mistake in a query means none of these and is raised unchanged.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from store.errors import DatabaseUnavailable, DatabaseUnfit, InvalidRequest, ReadOnly, StorageFailed, StorageFull

NO_ROOM = 64 << 10
"""A disk with less room than this, in bytes, is the cause of whatever SQLite could not write."""

_DISK_FULL = "53100"
_DISK_FAILED = {"58030", "XX001", "XX002"}
_ONLY_READS = "25006"
_FAILED_FILE = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}
_MISTAKES = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
_POOLERS = {
    "statement pooling": "The pooler before PostgreSQL is in statement mode, which has no transactions, and Unroll "
    "needs them: let it pool by transaction or by session (PgBouncer: pool_mode = transaction).",
    "unsupported startup parameter": "The pooler before PostgreSQL refuses a parameter of UNROLL_DATABASE_URL ({said}):"
    " leave it out there, or let the pooler ignore it (PgBouncer: ignore_startup_parameters).",
}
"""What poolers answer where Unroll cannot work with them as they are, and the cause."""


@contextmanager
def translated(file: Path | None) -> Iterator[None]:
    """Turn the driver's errors that are no mistake in a query into DatabaseUnavailable or a subclass of it.

    `file` is SQLite's. Raises InvalidRequest for a value that the database has no type for.
    """
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable(f"The database does not answer: {_first_line(error)}") from error
    except (DataError, OverflowError) as error:
        # PostgreSQL has no text with NUL in it, SQLite has; neither has integers of any size
        raise InvalidRequest(f"A value cannot be looked up or stored: {_first_line(error)}") from error
    except (DBAPIError, sqlite3.Error) as error:  # the latter while a connection is prepared
        outage = _outage(error, file)
        if outage is None:
            raise
        raise outage from error


def _outage(error: Exception, file: Path | None) -> DatabaseUnavailable | None:
    original = getattr(error, "orig", None) or error
    said = _first_line(error)
    if isinstance(original, sqlite3.Error):
        return _of_sqlite(original, said, file)
    state = getattr(original, "sqlstate", None)
    if state == _DISK_FULL:
        return StorageFull(f"The database server's disk is full; reads go on. ({said})")
    if state in _DISK_FAILED:
        return StorageFailed(f"The database server cannot read or write its files. ({said})")
    if state == _ONLY_READS:
        return ReadOnly("The database takes no writes at present: it is a replica, or was set to be read only.")
    for words, cause in _POOLERS.items():
        if words in str(original):
            return DatabaseUnfit(cause.format(said=said))
    gone = isinstance(error, DBAPIError) and error.connection_invalidated
    if gone or isinstance(error, (OperationalError, InterfaceError)):
        return DatabaseUnavailable(f"The database does not answer: {said}")
    return None


def _of_sqlite(error: sqlite3.Error, said: str, file: Path | None) -> DatabaseUnavailable | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or (code := code & 0xFF) in _MISTAKES:
        return None
    full = code == sqlite3.SQLITE_FULL or (code in _FAILED_FILE and file is not None and room(file) < NO_ROOM)
    if full:
        return StorageFull(f"There is no room left for {file}; reads go on, and writes do when there is room again.")
    if code in _FAILED_FILE:
        return StorageFailed(f"The database {file} cannot be read or written: {said}.")
    if code == sqlite3.SQLITE_READONLY:
        return ReadOnly(f"This process may not write to the database {file}, or its disk takes no writes; reads go on.")
    return DatabaseUnavailable(f"The database does not answer: {said}")


def room(file: Path) -> int:
    """Return how many bytes are free on the disk of a file's folder, as many as needed if that is not told."""
    try:
        return shutil.disk_usage(file.parent).free
    except OSError:
        return NO_ROOM


def _first_line(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return (str(original).strip().splitlines() or [type(original).__name__])[0]
