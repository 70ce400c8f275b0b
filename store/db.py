"""The database, SQLite or PostgreSQL. Apart from the broker's URL in queue.py, only this file distinguishes the two.

SQLite: WAL; foreign keys; BEGIN IMMEDIATE for writers, because a deferred reader that becomes a writer fails at once
with "database is locked", whatever the timeout; synchronous FULL, so that acknowledged data survive a power cut.
PostgreSQL: READ COMMITTED. If a process stops and leaves a transaction idle, the server ends it, so that it cannot hold
a job's row for ever. A transaction left in the middle of a message or of a pipeline counts as active for ever: the
search for expired leases ends it (`end_silent_writers`).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Double, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableClause

from store.errors import DatabaseUnavailable, InvalidRequest
from store.settings import Settings

BUSY_SECONDS = 10.0
APPLICATION = "unroll"
_SILENT_WRITERS = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND application_name = :application"
    " AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL AND state = 'active'"
    " AND wait_event IN ('ClientRead', 'ClientWrite')"
    " AND extract(epoch FROM clock_timestamp() - state_change) > :seconds"
)


class db_now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it is
    """Seconds since 1970 by the database's clock, at the moment when the expression is evaluated."""

    type = Double()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(_element: db_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _postgresql_now(_element: db_now, _compiler: SQLCompiler, **_: Any) -> str:
    # not now(): that is the transaction's start, and a transaction may have waited for a row
    return "extract(epoch from clock_timestamp())::double precision"


class Database:
    """A pool of connections. `begin` commits when its block ends and rolls back when the block raises."""

    def __init__(self, settings: Settings, *, pool_size: int = 10) -> None:
        """Prepare the pool without connecting. Raises ValueError if the URL names another kind of database."""
        url = make_url(settings.database)
        self.dialect = url.get_backend_name()
        self._silence_seconds = max(settings.lease_seconds, 1.0)
        if self.dialect == "sqlite":
            if url.database is None or url.database == ":memory:":
                message = "UNROLL_DATABASE_URL: SQLite needs a file"
                raise ValueError(message)
            Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.engine = create_engine(
                url, pool_size=pool_size, max_overflow=20, connect_args={"timeout": BUSY_SECONDS}
            )
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        elif self.dialect == "postgresql":
            idle, wait = int(self._silence_seconds * 1000), int(BUSY_SECONDS * 1000)
            self.engine = create_engine(
                url,
                pool_size=pool_size,
                max_overflow=20,
                pool_pre_ping=True,
                pool_timeout=BUSY_SECONDS,
                connect_args={
                    "connect_timeout": 5,
                    "application_name": APPLICATION,
                    "options": f"-c idle_in_transaction_session_timeout={idle} -c lock_timeout={wait}",
                },
            )
        else:
            message = f"UNROLL_DATABASE_URL: sqlite or postgresql, not {self.dialect}"
            raise ValueError(message)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open a transaction that writes. Raises DatabaseUnavailable if the database cannot be reached."""
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads. On SQLite it does not wait for writers."""
        with (
            _translated(),
            self.engine.connect().execution_options(unroll_reads=True) as connection,
            connection.begin(),
        ):
            yield connection

    def insert_ignore(self, table: TableClause) -> sqlite.Insert | postgresql.Insert:
        """Return INSERT ... ON CONFLICT DO NOTHING for this table."""
        insert = sqlite.insert if self.dialect == "sqlite" else postgresql.insert
        return insert(table).on_conflict_do_nothing()

    def end_silent_writers(self) -> int:
        """End sessions of this service that wrote something and then waited for their client longer than a lease lasts.

        Returns how many were ended. These sessions are in the middle of a message or of a pipeline (psycopg's
        executemany is one), which idle_in_transaction_session_timeout does not count. SQLite needs no such thing: its
        lock belongs to the file.
        """
        if self.dialect == "sqlite":
            return 0
        with self.read() as tx:
            values = {"application": APPLICATION, "seconds": self._silence_seconds}
            return int(tx.execute(_SILENT_WRITERS, values).scalar_one())

    def ping(self) -> None:
        """Raise DatabaseUnavailable if the database does not answer."""
        with self.read() as tx:
            tx.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close the pool's connections."""
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's temporary errors into DatabaseUnavailable. Errors in a query are raised unchanged."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        if getattr(getattr(error, "orig", None), "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise  # "no such table" and the like: SQLite has one class of errors for these and for a busy file
        raise DatabaseUnavailable(f"The database does not answer: {_first_line(error)}") from error
    except (DataError, OverflowError) as error:
        # PostgreSQL has no text with NUL in it, SQLite has; neither has integers of any size
        raise InvalidRequest(f"A value cannot be looked up or stored: {_first_line(error)}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable from error
        raise


def _first_line(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return (str(original).strip().splitlines() or [type(original).__name__])[0]


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver would otherwise begin, deferred, when it sees fit
    _write_ahead(connection)
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={int(BUSY_SECONDS * 1000)}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("unroll_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Set the journal mode to WAL, and try again while other processes do the same.

    The first process that opens a new file changes its journal, and SQLite does not wait for others that do so.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
