"""Behind a pooler that gives every transaction another connection everything works, or the start says why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from store import keys, leases, schema
from store.db import Database
from store.errors import DatabaseUnavailable, DatabaseUnfit
from store.settings import Settings
from tests.integration.store.factories import TENANT, at_once, claim, submit, train
from tests.servers.deployment import configure
from tests.servers.pgbouncer import PgBouncer, find
from tests.servers.postgresql import PostgreSQL
from unroll.contract import NewKey

REQUESTS = 200


@pytest.fixture
def behind(pgbouncer: PgBouncer, postgresql: PostgreSQL, _migrated_database: str, tmp_path: Path) -> Iterator[Settings]:
    url = postgresql.direct(postgresql.create_database(_migrated_database))
    yield Settings(data_dir=tmp_path, database_url=pgbouncer.through(url), secret="s")
    postgresql.drop_database(url)


def test_many_requests_share_few_connections_and_none_is_refused(behind: Settings):
    """Statements that were prepared on another connection made 94 of 626 such requests fail, and five answer 401."""
    with closing(Database(behind)) as db:
        secret = keys.create(db, behind.hash_secret, TENANT, NewKey(name="k")).secret
        answers: list[object] = []
        for _ in range(REQUESTS // 20):
            answers += at_once([lambda: keys.authenticate(db, behind.hash_secret, secret)] * 20)
        assert {type(answer).__name__ for answer in answers} == {"Identity"}
        submit(db)
        lease = claim(db)
        for step in range(1, 30):
            train(lease, step, step, checkpointed=step % 10 == 0)
        leases.end(lease, "succeeded")


def test_what_a_transaction_sets_holds_in_it_and_nowhere_else(behind: Settings):
    with closing(Database(behind)) as db:
        query = text("SELECT current_setting('lock_timeout'), current_setting('application_name')")
        with db.begin(patience=2.0) as tx:
            assert tx.execute(query).one() == ("2s", "unroll")
        with db.read() as tx:
            assert tx.execute(query).one() == ("10s", "unroll")


def test_a_transaction_that_is_left_idle_is_ended_behind_a_pooler_too(behind: Settings):
    with closing(Database(configure(behind, lease_seconds=1.0))) as db, closing(Database(behind)) as other:
        submit(db)

        def leave_idle() -> None:
            with db.begin() as tx:
                tx.execute(text("UPDATE jobs SET step = 1"))
                with other.begin() as waiting:  # returns when the server has ended the first one
                    waiting.execute(text("UPDATE jobs SET step = 2"))
                tx.execute(text("SELECT 1"))

        with pytest.raises(DatabaseUnavailable):
            leave_idle()


def test_a_pooler_without_transactions_is_refused_at_the_start_with_the_cause(postgresql: PostgreSQL, tmp_path: Path):
    pooler = PgBouncer(find(), postgresql.url, mode="statement")
    try:
        settings = Settings(data_dir=tmp_path, database_url=pooler.through(postgresql.url), secret="s")
        with closing(Database(settings)) as db, pytest.raises(DatabaseUnfit, match="pool_mode = transaction"):
            schema.check(db)
        with pytest.raises(DatabaseUnfit, match="pool_mode = transaction"):
            schema.migrate(settings)
    finally:
        pooler.stop()


def test_a_parameter_that_the_pooler_refuses_is_named(behind: Settings):
    url = f"{behind.database_url}?options=-c%20geqo%3Doff"
    refused = pytest.raises(DatabaseUnfit, match=r"UNROLL_DATABASE_URL .*options")
    with closing(Database(configure(behind, database_url=url))) as db, refused:
        schema.check(db)
