"""Transactions commit whole or not at all, and a database that cannot answer is told from a mistake in a query."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from store import db as store_db
from store import jobs, leases
from store.db import Database, db_now
from store.errors import DatabaseUnavailable, InvalidRequest
from store.schema import migrate
from store.settings import Settings
from tests.integration.store.factories import TENANT, claim, count, submit, train
from tests.servers.postgresql import OwnPostgreSQL


def test_a_block_that_raises_leaves_nothing(db: Database):
    submit(db)

    def half() -> None:
        with db.begin() as tx:
            tx.execute(text("DELETE FROM events"))
            tx.execute(text("DELETE FROM jobs"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert (count(db, "jobs"), count(db, "events")) == (1, 1)


def test_a_mistake_in_a_query_is_not_called_an_outage(db: Database):
    with pytest.raises(DBAPIError, match="no_such_table"), db.read() as tx:
        tx.execute(text("SELECT 1 FROM no_such_table"))
    with pytest.raises(IntegrityError), db.begin() as tx:
        tx.execute(text("INSERT INTO events VALUES ('no such job', 1, 'queued', 1, '{}')"))


@pytest.mark.parametrize(
    ("column", "value", "refusing"),
    [("step", 10**30, "sqlite"), ("step", -(2**63) - 1, "sqlite"), ("id", "\0", "postgresql")],
)
def test_a_value_that_no_row_can_hold_is_found_nowhere_or_is_the_callers_mistake(
    db: Database, column: str, value: object, refusing: str
):
    submit(db)
    query = text(f"SELECT * FROM jobs WHERE {column} = :value")
    if db.dialect == refusing:
        with pytest.raises(InvalidRequest), db.read() as tx:
            tx.execute(query, {"value": value}).all()
    else:
        with db.read() as tx:
            assert tx.execute(query, {"value": value}).all() == []


def test_the_clock_of_the_database_moves_within_a_transaction(db: Database):
    """A lease that is renewed after a long wait for the row must count from the end of the wait."""
    with db.begin() as tx:
        first = tx.execute(select(db_now())).scalar_one()
        time.sleep(0.05)
        assert 0.04 < tx.execute(select(db_now())).scalar_one() - first < 5
    assert abs(first - time.time()) < 60


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_file_that_stays_locked_is_an_outage_not_a_hang(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_db, "BUSY_SECONDS", 0.3)
    with closing(Database(settings)) as db, closing(Database(settings)) as other, other.begin():
        begun = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="locked"):
            submit(db)
        assert 0.2 < time.monotonic() - begun < 5


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_a_row_that_stays_locked_is_an_outage_not_a_hang(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_db, "BUSY_SECONDS", 0.3)
    with closing(Database(settings)) as db:
        job = submit(db)
        with db.begin() as tx:
            tx.execute(text("UPDATE jobs SET step = 1"))
            with pytest.raises(DatabaseUnavailable, match="lock timeout"):
                jobs.cancel(db, TENANT, job.id)


def test_a_database_that_cannot_be_reached_is_an_outage(tmp_path: Path):
    settings = Settings(data_dir=tmp_path, database_url="postgresql://u:p@127.0.0.1:1/nothing")
    with closing(Database(settings)) as db:
        with pytest.raises(DatabaseUnavailable):
            db.ping()
        with pytest.raises(DatabaseUnavailable):
            migrate(settings)


@pytest.fixture
def fragile() -> Iterator[OwnPostgreSQL]:
    server = OwnPostgreSQL()
    yield server
    server.stop()


def test_after_a_restart_of_postgresql_work_goes_on_and_nothing_acknowledged_is_missing(
    fragile: OwnPostgreSQL, tmp_path: Path
):
    settings = Settings(data_dir=tmp_path, database_url=fragile.create_database(), secret="s")
    migrate(settings)
    with closing(Database(settings)) as db:
        job = submit(db)
        lease = claim(db)
        acknowledged = 0
        outages = 0
        over = threading.Event()

        def work() -> None:
            nonlocal acknowledged, outages
            while not over.is_set():
                try:
                    train(lease, acknowledged + 1, acknowledged + 1)
                except DatabaseUnavailable:
                    outages += 1
                    # unknown whether it was stored: look, as the recorder does
                    while not over.is_set():
                        try:
                            acknowledged = jobs.get(db, TENANT, job.id).progress.step
                            break
                        except DatabaseUnavailable:
                            time.sleep(0.01)
                else:
                    acknowledged += 1

        worker = threading.Thread(target=work)
        worker.start()
        for _ in range(3):
            time.sleep(0.3)
            fragile.interrupt()
            fragile.start()
        time.sleep(0.3)
        over.set()
        worker.join()
        assert outages >= 3
        assert acknowledged > 10
        assert leases.report(lease, leases.Report()) is None
        with db.read() as tx:
            stored = tx.execute(text("SELECT first_step FROM metric_blocks ORDER BY first_step")).scalars().all()
        assert stored == list(range(1, acknowledged + 1))
