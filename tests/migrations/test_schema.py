"""The migrations make exactly the tables of store/tables.py, and no other version of them is touched."""

from __future__ import annotations

import re
import threading
import time

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, inspect, select, text
from sqlalchemy.schema import CreateIndex

from store import schema
from store.db import Database
from store.errors import SchemaMismatch
from store.settings import Settings
from store.tables import keys, metadata


def test_migrations_make_the_tables_that_the_code_expects(db: Database):
    with db.begin() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        # what the comparison does not look at
        for table in metadata.tables.values():
            found = {
                (tuple(key["constrained_columns"]), key["referred_table"], key["options"].get("ondelete"))
                for key in inspect(tx).get_foreign_keys(table.name)
            }
            expected = {
                (tuple(key.column_keys), key.referred_table.name, key.ondelete) for key in table.foreign_key_constraints
            }
            assert found == expected, table.name
            assert inspect(tx).get_pk_constraint(table.name)["constrained_columns"] == [
                column.name for column in table.primary_key
            ]
        expected = {
            index.name: _columns(str(CreateIndex(index).compile(dialect=tx.dialect)))
            for table in metadata.tables.values()
            for index in table.indexes
        }
        found = {name: _columns(sql) for name, sql in tx.execute(text(INDEXES[tx.dialect.name])) if name in expected}
        assert found == expected


INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index'",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}


def _columns(create_index: str) -> str:
    """Which rows an index has, and its columns with their directions, from the statement that makes it."""
    columns, _, where = create_index[create_index.index("(") :].partition(" WHERE ")
    # PostgreSQL writes conditions with casts and more parentheses
    return f"{columns} WHERE {re.sub(r'[()]|::text', '', where)}"


def test_an_empty_database_is_refused_then_migrated_then_accepted(empty_settings: Settings):
    db = Database(empty_settings)
    with pytest.raises(SchemaMismatch, match="run `unroll-server migrate`"):
        schema.check(db)
    schema.migrate(empty_settings)
    schema.check(db)
    db.close()


def test_migrating_twice_changes_nothing(settings: Settings, db: Database):
    with db.begin() as tx:
        tx.execute(text("INSERT INTO workers VALUES ('w', 'h', 1, 'cpu', NULL, '0', 1.5, 1.5)"))
    schema.migrate(settings)
    with db.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM workers")).scalar_one() == 1


def test_of_several_that_migrate_at_once_one_does_and_none_fails(empty_settings: Settings):
    failures: list[BaseException] = []
    together = threading.Barrier(6)

    def start() -> None:
        together.wait()
        try:
            schema.migrate(empty_settings)
        except BaseException as error:  # noqa: BLE001 - seen below
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    db = Database(empty_settings)
    schema.check(db)
    db.close()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(settings: Settings, db: Database):
    with db.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match=r"newer version of Unroll.*9999.*refuses"):
        schema.check(db)
    with pytest.raises(SchemaMismatch, match="newer version"):
        schema.migrate(settings)
    with db.read() as tx:
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
        assert tx.execute(select(func.count()).select_from(keys)).scalar_one() == 0


def test_the_check_costs_milliseconds(db: Database):
    schema.check(db)
    begun = time.perf_counter()
    for _ in range(10):
        schema.check(db)
    assert (time.perf_counter() - begun) / 10 < 0.1


def test_file_names_carry_the_revisions_of_one_linear_chain():
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    chain = [revision.revision for revision in scripts.walk_revisions()]
    assert chain[::-1] == schema.revisions()
    assert len(scripts.get_heads()) == 1
