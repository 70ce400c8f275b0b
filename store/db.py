"""The database, SQLite or PostgreSQL. Apart from the broker's URL in queue.py, only this file distinguishes the two.

SQLite: WAL; foreign keys; BEGIN IMMEDIATE for writers, because a deferred reader that becomes a writer fails at once
with "database is locked", whatever the timeout; synchronous FULL, so that acknowledged data survive a power cut.
PostgreSQL: READ COMMITTED. If a process stops and leaves a transaction idle, the server ends it, so that it cannot hold
a job's row for ever. A transaction left in the middle of a message or of a pipeline counts as active for ever: the
search for expired leases ends it (`end_silent_writers`). Nothing outlives a transaction on its connection, neither a
setting nor a prepared statement nor a lock, so that a pooler may give each transaction another one (docs/adr/0017).
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Double, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableClause

from store.errors import DatabaseUnavailable, StorageFull
from store.outages import NO_ROOM, room, translated
from store.settings import Settings

BUSY_SECONDS = 10.0
"""How long a writer waits for a lock of another one."""
CROWD = 8
CROWD_SECONDS = 1.0
"""Where this many transactions of one process write or wait to, further ones wait only so long: the threads that wait
for one stopped writer would be those that serve everybody's reads."""
PROBE_SECONDS = 3.0
"""How long the answer to whether the database takes writes is used again."""
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
        self.file: Path | None = None
        """SQLite's file."""
        self._silence_seconds = max(settings.lease_seconds, 1.0)
        self._writing = 0
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._probed: tuple[float, DatabaseUnavailable | None] = (-PROBE_SECONDS, None)
        if self.dialect == "sqlite":
            if url.database is None or url.database == ":memory:":
                message = "UNROLL_DATABASE_URL: SQLite needs a file"
                raise ValueError(message)
            self.file = Path(url.database)
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.engine = create_engine(
                url, pool_size=pool_size, max_overflow=20, connect_args={"timeout": BUSY_SECONDS}
            )
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        elif self.dialect == "postgresql":
            self.engine = create_engine(
                url,
                pool_size=pool_size,
                max_overflow=20,
                pool_pre_ping=True,
                pool_timeout=BUSY_SECONDS,
                connect_args={
                    "connect_timeout": 5,
                    "application_name": APPLICATION,
                    "client_encoding": "utf8",
                    "autocommit": True,  # a transaction begins with a text of our own
                    "prepare_threshold": None,  # behind a pooler the next one may run on another connection
                },
            )
            event.listen(self.engine, "begin", self._begin_postgresql)
        else:
            message = f"UNROLL_DATABASE_URL: sqlite or postgresql, not {self.dialect}"
            raise ValueError(message)

    @contextmanager
    def begin(self, *, patience: float | None = None) -> Iterator[Connection]:
        """Open a transaction that writes. It waits for locks of other writers for `patience` seconds.

        Raises DatabaseUnavailable if the database cannot be reached or written.
        """
        with self._lock:
            self._writing += 1
            if patience is None:
                patience = BUSY_SECONDS if self._writing <= CROWD else min(CROWD_SECONDS, BUSY_SECONDS)
        try:
            with (
                translated(self.file),
                self.engine.connect().execution_options(unroll_patience=patience) as connection,
                connection.begin(),
            ):
                yield connection
        finally:
            with self._lock:
                self._writing -= 1

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads. On SQLite it does not wait for writers."""
        with (
            translated(self.file),
            self.engine.connect().execution_options(unroll_reads=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a transaction that reads, in which nothing changes, however long it takes."""
        with self.read() as tx:
            if self.dialect == "postgresql":
                tx.exec_driver_sql(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
                    " SET LOCAL idle_in_transaction_session_timeout = 0"
                )
            yield tx

    def shrink(self) -> int | None:
        """Return unused room to the disk, and how many bytes; nobody can write meanwhile. None on PostgreSQL.

        Raises DatabaseUnavailable.
        """
        if self.file is None:
            return None
        with translated(self.file), closing(self.engine.raw_connection()) as connection:
            before = self.file.stat().st_size
            connection.driver_connection.execute("VACUUM")  # type: ignore[union-attr]
            connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
            return before - self.file.stat().st_size

    def writable(self) -> DatabaseUnavailable | None:
        """Return why the database takes no writes at present, or None where it does.

        A write that changes nothing is tried for it, but not more than once in some seconds.
        """
        with self._probing:
            when, found = self._probed
            if time.monotonic() - when >= PROBE_SECONDS:
                found = self._probe()
                self._probed = time.monotonic(), found
            return found

    def _probe(self) -> DatabaseUnavailable | None:
        try:
            with self.begin(patience=CROWD_SECONDS) as tx:
                tx.execute(text("UPDATE alembic_version SET version_num = version_num"))
        except DatabaseUnavailable as error:
            return error
        if self.file is not None and room(self.file) < NO_ROOM:  # what was written had its place in the file already
            return StorageFull(f"There is no room left for {self.file}; reads go on.")
        return None

    def _begin_postgresql(self, connection: Connection) -> None:
        """Begin, and set what holds for this transaction alone, since the next one may be on another connection.

        It is one message. A pooler may hide the name of the application, by which silent writers are found.
        """
        wait = connection.get_execution_options().get("unroll_patience", BUSY_SECONDS)
        connection.exec_driver_sql(
            f"BEGIN; SET LOCAL application_name = '{APPLICATION}';"
            f" SET LOCAL idle_in_transaction_session_timeout = {int(self._silence_seconds * 1000)};"
            f" SET LOCAL lock_timeout = {max(int(wait * 1000), 1)}"
        )

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


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver would otherwise begin, deferred, when it sees fit
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    patience = options.get("unroll_patience", BUSY_SECONDS)
    connection.exec_driver_sql(f"PRAGMA busy_timeout={int(patience * 1000)}")
    connection.exec_driver_sql("BEGIN" if options.get("unroll_reads", False) else "BEGIN IMMEDIATE")


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
