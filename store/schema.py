"""Migrates the database's schema to the version of this program, and refuses to run with any other.

`migrations/` holds one linear chain of revisions; the file `NNNN_name.py` is revision NNNN.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, event, inspect, text

from store.db import BUSY_SECONDS, Database
from store.errors import DatabaseUnfit, SchemaMismatch
from store.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config  # costs 0.1 s, and only a migration needs it

MIGRATIONS = Path(__file__).parent.parent / "migrations"
LOCK = 0x756E726F6C6C  # "unroll": the advisory lock of whoever migrates
LOCK_SECONDS = 600


def revisions() -> list[str]:
    """Return all revisions that this program knows, oldest first.

    They are read from file names, because `check` must not import Alembic.
    """
    return sorted(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def migrate(settings: Settings) -> None:
    """Migrate the database to this program's schema in one transaction. A current schema is left unchanged.

    Several processes may do so at once: one migrates, the others wait and find it done. Raises SchemaMismatch if the
    database is of a newer version, DatabaseUnfit, and DatabaseUnavailable.
    """
    db = Database(settings, pool_size=1)
    if db.dialect == "sqlite":
        event.listen(db.engine, "connect", _foreign_keys_off)
    try:
        with db.read() as tx:
            _refuse_unfit(tx)
            if _revision(tx) == revisions()[-1]:
                return
        with db.begin() as tx:  # SQLite: BEGIN IMMEDIATE is the lock
            if db.dialect == "postgresql":
                tx.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
                tx.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
                tx.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS:g}s'"))
            found = _revision(tx)
            _refuse_newer(found)
            if found != revisions()[-1]:
                _upgrade(tx)
                _check_foreign_keys(tx)
    finally:
        db.close()


def check(db: Database) -> None:
    """Raise SchemaMismatch if the database's schema is not this program's.

    Raises DatabaseUnfit if no schema would help, and DatabaseUnavailable.
    """
    with db.read() as tx:
        _refuse_unfit(tx)
        found = _revision(tx)
    _refuse_newer(found)
    if found is None:
        raise SchemaMismatch("The database is empty: run `unroll-server migrate`.")
    if found != (newest := revisions()[-1]):
        raise SchemaMismatch(
            f"The database's schema is at revision {found}, this program needs {newest}: run `unroll-server migrate`."
        )


def _refuse_unfit(tx: Connection) -> None:
    """Raise DatabaseUnfit for an encoding that cannot hold all text, or a pooler that tears transactions apart."""
    if tx.dialect.name != "postgresql":
        return
    encoding, name, idle = tx.execute(
        text(
            "SELECT current_setting('server_encoding'), current_database(),"
            " current_setting('idle_in_transaction_session_timeout')"
        )
    ).one()
    if encoding != "UTF8":
        raise DatabaseUnfit(
            f"The database {name} has the encoding {encoding}, which does not hold every text; Unroll needs UTF8. Make "
            f"another one: createdb --template template0 --encoding UTF8 NAME"
        )
    if idle == "0":  # it was set at the beginning of this transaction
        raise DatabaseUnfit(
            "Statements of one transaction run on different connections. Let the pooler before PostgreSQL pool by "
            "transaction or by session."
        )


def _refuse_newer(found: str | None) -> None:
    if found is not None and found not in revisions():
        raise SchemaMismatch(
            f"The database was written by a newer version of Unroll (schema revision {found}; this program knows "
            f"revisions up to {revisions()[-1]}) and this program refuses to touch it: install the newer version."
        )


def _revision(tx: Connection) -> str | None:
    if not inspect(tx).has_table("alembic_version"):
        return None
    return tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(tx: Connection) -> None:
    from alembic import command

    command.upgrade(alembic_config(tx), "head")


def alembic_config(tx: Connection) -> Config:
    """Return the configuration with which Alembic's commands work in this transaction."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = tx
    return config


def _foreign_keys_off(connection: sqlite3.Connection, _record: object) -> None:
    # batch mode drops the old table, which with foreign keys on would delete every row that refers to it
    connection.execute("PRAGMA foreign_keys=OFF")


def _check_foreign_keys(tx: Connection) -> None:
    if tx.dialect.name == "sqlite" and (broken := tx.execute(text("PRAGMA foreign_key_check")).first()) is not None:
        raise SchemaMismatch(
            f"After the migration, rows of {broken[0]} refer to rows of {broken[2]} that do not exist."
        )
