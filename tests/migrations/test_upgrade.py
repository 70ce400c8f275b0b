"""Databases of every earlier version upgrade, and all that was in them can be read and gone on with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, insert, select, text, update

from store import (
    artifacts,
    checkpoints,
    fleet,
    jobs,
    journal,
    keys,
    leases,
    metrics,
    models,
    schema,
    stored,
    tables,
)
from store.db import Database
from store.leases import Report
from store.settings import Settings
from store.tables import jobs as job_rows
from tests.integration.store.factories import DATA, NETWORK, TENANT, block, checkpoint, claim, load_inputs
from tests.migrations.freeze import ASSETS, SECRET
from unroll.contract import MSE, Limits

FROZEN = sorted(ASSETS.glob("*.sql"))


@pytest.fixture(params=FROZEN, ids=lambda path: path.stem)
def frozen(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, frozen: Path, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a database as it was at the frozen revision."""
    with closing(sqlite3.connect(tmp_path / "unroll.db")) as connection:
        connection.executescript(frozen.read_text())
        connection.execute("PRAGMA journal_mode=WAL")
    settings = Settings(data_dir=tmp_path, secret=SECRET.decode())
    if request.param == "sqlite":
        yield settings
        return
    server = request.getfixturevalue("postgresql")
    url = server.create_database()
    there = settings.model_copy(update={"database_url": url})
    copy(settings, there, frozen.stem)
    yield there
    server.drop_database(url)


def copy(source: Settings, target: Settings, revision: str) -> None:
    """Make the tables of a revision on another database, by its migrations, and copy every row."""
    with closing(Database(source)) as here, closing(Database(target)) as there:
        with there.begin() as tx:
            command.upgrade(schema.alembic_config(tx), revision)
        with here.read() as read, there.begin() as write:
            rows = everything(read)
            tables = MetaData()
            tables.reflect(write)
            pins = [(model["id"], model.pop("pinned_checkpoint")) for model in rows["models"]]
            # models, jobs and checkpoints refer to each other in a circle, which the pins close
            order = ["blobs", "blob_chunks", "keys", "workers", "models", "jobs", "checkpoints"]
            order += sorted(set(rows) - {*order, "alembic_version"})
            for name in order:
                if rows[name]:
                    write.execute(insert(tables.tables[name]), rows[name])
            for model_id, pin in pins:
                models_of = tables.tables["models"]
                write.execute(update(models_of).where(models_of.c.id == model_id).values(pinned_checkpoint=pin))


def everything(tx: Connection) -> dict[str, list[dict]]:
    """Every row of every table, by the tables that the database has; JSON as what it means."""
    found = MetaData()
    found.reflect(tx)
    return {name: [dict(row) for row in tx.execute(select(table)).mappings()] for name, table in found.tables.items()}


@pytest.fixture
def upgraded(old: Settings) -> Iterator[Database]:
    schema.migrate(old)
    with closing(Database(old)) as db:
        schema.check(db)
        yield db


SQLITE = pytest.mark.parametrize("old", ["sqlite"], indirect=True)


def test_there_is_a_frozen_database_of_every_revision():
    assert [path.stem for path in FROZEN] == schema.revisions()


def test_every_row_is_still_there_and_can_be_read(upgraded: Database, frozen: Path):
    db = upgraded
    if db.dialect == "sqlite":
        with db.read() as tx:
            assert tx.execute(text("PRAGMA foreign_key_check")).all() == []
    secret = frozen.read_text().splitlines()[0].removeprefix("-- key: ")
    identity = keys.authenticate(db, SECRET, secret)
    assert (identity.tenant, identity.scopes) == (TENANT, {"read", "admin"})
    me = keys.me(db, identity)
    weight = 2 if frozen.stem >= "0005" else 1
    assert (me.key.max_active_jobs, me.weight, identity.limits) == (10, weight, Limits())
    with db.begin() as tx:
        sizes = {row.id: row.stored_bytes for row in tx.execute(select(job_rows))}
        assert me.key_limits.stored_bytes.used == sum(sizes.values()) > 0
        assert [stored.measure(tx, row) for row in tx.execute(select(job_rows)).all()] == [0] * len(sizes)

    found = {job.name: job for job in jobs.list_(db, TENANT, kind="train").data}
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
    assert all(job.config.model == NETWORK and job.summary.model == "integrator" for job in found.values())
    assert found["failed"].error.code == "out_of_memory"
    assert found["paused"].labels == {"of": "one's own"}
    assert [job.name for job in jobs.list_(db, TENANT, labels={"of": "one's own"}).data] == ["paused"]
    assert found["running"].requested == "pause"
    assert found["interrupted"].crashes == 1

    succeeded = found["succeeded"]
    summary = succeeded.summary
    assert (summary.best.replica, summary.best.loss, summary.stopped) == (0, 0.25, "max_seconds")
    assert (summary.parameters, summary.baseline_loss, summary.loss) == (19, 1.5, [0.5, None])
    assert (summary.diverged[0].gradient_norm, summary.stopped_replicas[0].reason) == (2e9, "early_stopping")
    assert found["queued"].summary.model_dump(exclude_defaults=True) == {
        "model": "integrator",
        "parameters": 19,
        "baseline_loss": 1.5,
    }
    curve = metrics.read(db, TENANT, succeeded.id, names=["loss"])
    assert [one.steps for one in curve.series] == [list(range(1, 151))] * 2
    assert curve.series[1].values == [1000.0 + step for step in range(1, 151)]
    for one in checkpoints.list_of_job(db, TENANT, succeeded.id).data:
        assert checkpoints.content(db, TENANT, one.id)[1] == b"weights at %d" % one.step
        assert (one.network, one.dtype, one.data, one.loss) == (NETWORK, "float32", DATA, MSE())
    served = models.served(db, TENANT, "integrator")
    assert (served.checkpoint, served.pinned) == (summary.best.checkpoint, True)
    told, closed = journal.read(db, TENANT, succeeded.id)
    assert closed
    assert [event.seq for event in told] == list(range(1, succeeded_events(told) + 1))
    assert fleet.list_workers(db, TENANT, 1e12)[0].job == found["running"].id
    if frozen.stem >= "0004":
        evaluations_are_there(db, succeeded.id, summary.best.checkpoint)


def evaluations_are_there(db: Database, parent: str, read: str) -> None:
    found = {job.name: job for job in jobs.list_(db, TENANT, parent=parent).data}
    assert {name: (job.kind, job.status) for name, job in found.items()} == {
        "evaluated": ("evaluate", "succeeded"),
        "reading": ("evaluate", "queued"),
    }
    for job in found.values():
        assert (job.config.checkpoint, job.config.lengths) == (read, [20, 40])
        assert list(load_inputs(db, TENANT, job.id)) == [read]
    summary = found["evaluated"].summary
    assert (summary.loss, summary.ci95, summary.baseline_loss) == (0.5, (0.4, 0.6), 1.5)
    (made,) = artifacts.list_of_job(db, TENANT, found["evaluated"].id)
    assert (made.name, made.media_type) == ("result.json", "application/json")
    assert artifacts.content(db, TENANT, found["evaluated"].id, made.name, made.sha256) == b'{"mean": 0.5}'


MOVED = {"parameters", "baseline_loss", "loss", "diverged", "stopped", "stopped_replicas"}
"""What 0004 took out of the table of jobs."""


@pytest.mark.parametrize("frozen", [ASSETS / "0003.sql"], indirect=True, ids=["0003"])
def test_every_value_of_0003_is_preserved(old: Settings):
    with closing(Database(old)) as db:
        with db.read() as tx:
            before = everything(tx)
        schema.migrate(old)
        with db.read() as tx:
            after = everything(tx)
    assert set(after) - set(before) == {
        "artifacts",
        "inputs",
        "tenants",
        "clocks",
        "stored",
        "job_labels",
        "pins",
        "sessions",
    }
    assert before.pop("alembic_version") != after.pop("alembic_version")
    for name, rows in before.items():
        lost = MOVED if name == "jobs" else set()
        left = [{key: row[key] for key in set(rows[0]) - lost} for row in after[name]]
        assert sorted(left, key=repr_of) == sorted(
            ({key: row[key] for key in set(row) - lost} for row in rows), key=repr_of
        ), name
    of_jobs = {row["id"]: row for row in before["jobs"]}
    said = dict.fromkeys(("summary", "latest"), 0)
    for row in after["jobs"]:
        was = of_jobs[row["id"]]
        lists = {name: was[name] for name in ("diverged", "stopped_replicas") if was[name]}
        assert row["summary"] == lists | ({"stopped": was["stopped"]} if was["stopped"] else {})
        assert row["latest"] == ({"loss": was["loss"]} if was["loss"] else {})
        assert row["facts"] == {name: was[name] for name in ("parameters", "baseline_loss", "total")}
        assert (row["driver"], row["parent_id"]) == ("trainer", None)
        said = {name: number + bool(row[name]) for name, number in said.items()}
    assert said == {"summary": 1, "latest": 1}
    summaries = {}
    for row in after["checkpoints"]:
        config = of_jobs[row["job_id"]]["config"]
        assert (row["network"], row["data"], row["loss"]) == (
            config["model"],
            config["data"],
            config["training"]["loss"],
        )
        assert (row["dtype"], row["contract_version"]) == (config["dtype"], of_jobs[row["job_id"]]["contract_version"])
        summaries[row["step"]] = row["summary"]
    (full,) = [row["summary"] for row in after["jobs"] if row["summary"]]
    # a divergence at step 120, a stop at step 150, and the end, which no checkpoint knows
    assert summaries == {10: {}, 50: {}, 100: {}, 150: {name: full[name] for name in ("diverged", "stopped_replicas")}}


@pytest.mark.parametrize("frozen", [ASSETS / "0003.sql"], indirect=True, ids=["0003"])
def test_what_was_said_before_a_checkpoint_of_0003_outlives_going_back_to_it(upgraded: Database):
    db = upgraded
    job = jobs.list_(db, TENANT, name="succeeded").data[0]
    with db.begin() as tx:  # as if it had been interrupted, with one more divergence behind its last checkpoint
        more = [*(one.model_dump(mode="json") for one in job.summary.diverged), {"replica": 0, "step": 160}]
        row = update(tables.jobs).where(tables.jobs.c.id == job.id)
        tx.execute(row.values(status="queued", step=160, priority=100, summary={"diverged": more}, ended_at=None))
    claim(db)
    summary = jobs.get(db, TENANT, job.id).summary
    assert (summary.diverged, summary.stopped_replicas) == (job.summary.diverged, job.summary.stopped_replicas)
    assert summary.stopped is None


def repr_of(row: dict) -> str:
    return repr(sorted(row.items()))


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


@SQLITE
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


def test_a_migration_that_fails_changes_nothing(upgraded: Database, old: Settings, monkeypatch: pytest.MonkeyPatch):
    def half(config: Config, _target: str) -> None:
        config.attributes["connection"].execute(text("DROP TABLE events"))
        raise ZeroDivisionError

    with upgraded.begin() as tx:
        tx.execute(text("DELETE FROM alembic_version"))
    monkeypatch.setattr(command, "upgrade", half)
    with pytest.raises(ZeroDivisionError):
        schema.migrate(old)
    assert count(upgraded, "events") > 0
