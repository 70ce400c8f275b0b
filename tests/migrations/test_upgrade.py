"""Databases of every earlier version upgrade, and all that was in them can be read and gone on with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from store import checkpoints, fleet, jobs, journal, keys, leases, metrics, models, schema
from store.db import Database
from store.leases import Report
from store.settings import Settings
from tests.integration.store.factories import NETWORK, TENANT, block, checkpoint, claim
from tests.migrations.freeze import ASSETS, SECRET

FROZEN = sorted(ASSETS.glob("*.sql"))


@pytest.fixture(params=FROZEN, ids=lambda path: path.stem)
def frozen(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def upgraded(frozen: Path, tmp_path: Path) -> Iterator[Database]:
    with closing(sqlite3.connect(tmp_path / "unroll.db")) as connection:
        connection.executescript(frozen.read_text())
        connection.execute("PRAGMA journal_mode=WAL")
    settings = Settings(data_dir=tmp_path, secret=SECRET.decode())
    schema.migrate(settings)
    db = Database(settings)
    schema.check(db)
    yield db
    db.close()


def test_there_is_a_frozen_database_of_every_revision():
    assert [path.stem for path in FROZEN] == schema.revisions()


def test_every_row_is_still_there_and_can_be_read(upgraded: Database, frozen: Path):
    db = upgraded
    with db.read() as tx:
        assert tx.execute(text("PRAGMA foreign_key_check")).all() == []
    secret = frozen.read_text().splitlines()[0].removeprefix("-- key: ")
    identity = keys.authenticate(db, SECRET, secret)
    assert (identity.tenant, identity.scopes) == (TENANT, {"read", "admin"})
    assert keys.me(db, identity).key.max_active_jobs == 10

    found = {job.name: job for job in jobs.list_(db, TENANT).data}
    assert {name: job.status for name, job in found.items()} == {
        "succeeded": "succeeded",
        "failed": "failed",
        "cancelled": "cancelled",
        "drained": "cancelled",
        "paused": "paused",
        "interrupted": "queued",
        "queued": "queued",
        "running": "running",
    }
    assert all(job.config.model == NETWORK and job.model == "integrator" for job in found.values())
    assert found["failed"].error.code == "out_of_memory"
    assert found["paused"].labels == {"of": "one's own"}
    assert found["running"].requested == "pause"
    assert found["interrupted"].crashes == 1

    succeeded = found["succeeded"]
    assert (succeeded.best.replica, succeeded.best.loss, succeeded.stopped) == (0, 0.25, "max_seconds")
    assert succeeded.diverged[0].gradient_norm == 2e9
    curve = metrics.read(db, TENANT, succeeded.id, names=["loss"])
    assert [one.steps for one in curve.series] == [list(range(1, 151))] * 2
    assert curve.series[1].values == [1000.0 + step for step in range(1, 151)]
    for one in checkpoints.list_of_job(db, TENANT, succeeded.id).data:
        assert checkpoints.content(db, TENANT, one.id)[1] == b"weights at %d" % one.step
    served = models.served(db, TENANT, "integrator")
    assert (served.checkpoint, served.pinned) == (succeeded.best.checkpoint, True)
    told, closed = journal.read(db, TENANT, succeeded.id)
    assert closed
    assert [event.seq for event in told] == list(range(1, succeeded_events(told) + 1))
    assert fleet.list_workers(db, TENANT, 1e12)[0].job == found["running"].id


def succeeded_events(told: list) -> int:
    kinds = [event.type for event in told]
    assert kinds == ["queued", "started", "checkpoint", "checkpoint", "checkpoint", "end"]
    return len(kinds)


def test_an_interrupted_job_goes_on_from_its_checkpoint_after_the_upgrade(upgraded: Database):
    lease = claim(upgraded)
    assert jobs.get(upgraded, TENANT, lease.job_id).name == "interrupted"
    point = leases.resume_point(lease)
    assert (point.step, point.weights, point.state) == (10, b"weights at 10", b"state at 10")
    leases.report(lease, Report([block(11, 20, replicas=2)], checkpoint=checkpoint(20, replicas=2), step=20))
    leases.end(lease, "succeeded")
    assert metrics.read(upgraded, TENANT, lease.job_id).series[0].steps == list(range(1, 21))


def test_a_revision_that_makes_a_table_anew_on_sqlite_keeps_every_row(
    upgraded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Batch mode drops the old table; with foreign keys on, that would delete every row that refers to it."""
    before = {table: count(upgraded, table) for table in ("jobs", "events", "checkpoints", "metric_blocks", "models")}
    upgraded.close()
    chain = tmp_path / "migrations"
    (chain / "versions").mkdir(parents=True)
    for source in [schema.MIGRATIONS / "env.py", schema.MIGRATIONS / "script.py.mako"]:
        (chain / source.name).write_text(source.read_text())
    for source in (schema.MIGRATIONS / "versions").glob("*.py"):
        (chain / "versions" / source.name).write_text(source.read_text())
    newest = schema.revisions()[-1]
    (chain / "versions" / "9000_widen.py").write_text(WIDEN.format(newest=newest))
    monkeypatch.setattr(schema, "MIGRATIONS", chain)
    schema.migrate(Settings(data_dir=tmp_path))
    schema.check(upgraded)
    assert {table: count(upgraded, table) for table in before} == before
    with upgraded.read() as tx:
        assert tx.execute(text("PRAGMA foreign_key_check")).all() == []
        assert "VARCHAR(20)" in tx.execute(text("SELECT sql FROM sqlite_master WHERE name = 'jobs'")).scalar_one()


WIDEN = """
import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = "{newest}"


def upgrade():
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("status", type_=sa.String(20), existing_nullable=False)
"""


def count(db: Database, table: str) -> int:
    with db.read() as tx:
        return tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


def test_a_migration_that_fails_changes_nothing(upgraded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def half(config: Config, _target: str) -> None:
        config.attributes["connection"].execute(text("DROP TABLE events"))
        raise ZeroDivisionError

    with upgraded.begin() as tx:
        tx.execute(text("DELETE FROM alembic_version"))
    monkeypatch.setattr(command, "upgrade", half)
    with pytest.raises(ZeroDivisionError):
        schema.migrate(Settings(data_dir=tmp_path))
    assert count(upgraded, "events") > 0
