"""A backup holds everything, comes back bit for bit on either database, and a damaged one changes nothing."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Connection, Table, Text, cast, func, inspect, select, text

from store import backup, checkpoints, jobs, journal, keys, leases, models, schema
from store.artifacts import NewArtifact
from store.db import Database
from store.errors import BadBackup, NotEmpty, SchemaMismatch
from store.leases import Report
from store.settings import Settings
from tests.integration.store.factories import KEY, NETWORK, TENANT, checkpoint, claim, new_job, submit, submit_reader
from tests.integration.store.factories import train as trained
from tests.migrations.freeze import ASSETS, SECRET
from unroll.contract import NewKey, NewModel, Serving


def fill(db: Database, settings: Settings) -> tuple[str, str]:
    """Something of everything, with a job that runs; its id, and the secret of a key."""
    secret = keys.create(db, settings.hash_secret, TENANT, NewKey(name="k")).secret
    models.register(db, TENANT, NewModel(name="integrator", config=NETWORK), 19)
    model_id, _ = models.resolve(db, TENANT, "integrator")
    parent = jobs.submit(db, TENANT, KEY, new_job(model_id=model_id, model_name="integrator"))[0].id
    lease = claim(db)
    large = bytes(range(256)) * 10_000  # three chunks
    leases.report(lease, Report(checkpoint=checkpoint(10, losses=(0.5,)), artifacts=[NewArtifact("a", "b/c", large)]))
    leases.end(lease, "succeeded")
    made = checkpoints.list_of_job(db, TENANT, parent).data[0].id
    models.pin(db, TENANT, "integrator", Serving(checkpoint=made, replica=0))
    submit_reader(db, made, priority=-1)
    for requested in ("cancel", "pause", None):
        job = jobs.submit(db, TENANT, KEY, new_job(parent=parent))[0].id
        trained(claim(db), 1, 20, checkpointed=True)
        if requested is not None:
            {"cancel": jobs.cancel, "pause": jobs.pause}[requested](db, TENANT, job)
    return job, secret


def rows(db: Database) -> dict[str, set[str]]:
    """Every row of every table that a backup holds, as it is stored."""
    found = {}
    with db.read() as tx:
        for table in backup.TABLES:
            columns = [cast(column, Text) if isinstance(column.type, JSON) else column for column in table.c]
            found[table.name] = {repr(row) for row in tx.execute(select(*columns))}
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Another database, empty and migrated."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgresql").create_database()
    settings = Settings(data_dir=tmp_path / "target", database_url=url, secret="s")
    schema.migrate(settings)
    with closing(Database(settings)) as db:
        yield db
    if url:
        request.getfixturevalue("postgresql").drop_database(url)


def test_everything_comes_back_on_either_database_and_what_ran_goes_on(
    db: Database, settings: Settings, target: Database, tmp_path: Path
):
    running, secret = fill(db, settings)
    about = backup.write(db, settings, tmp_path / "file")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert list(tmp_path.glob("*.partial*")) == []
    before = rows(db)
    submit(db)  # later than the backup
    assert about.rows["jobs"] == len(before["jobs"])
    assert backup.restore(target, tmp_path / "file") == about
    after = rows(target)
    for name in before.keys() - {"jobs", "events"}:
        assert after[name] == before[name], name
    # the jobs that ran were taken back, as the user wanted, and nothing else changed
    assert len(before["jobs"] - after["jobs"]) == 3
    assert len(after["events"] - before["events"]) == 3
    assert before["events"] <= after["events"]
    status = {job.id: job.status for job in jobs.list_(target, TENANT).data}
    assert sorted(status.values()) == ["cancelled", "paused", "queued", "queued", "succeeded"]
    assert journal.read(target, TENANT, running)[0][-1].data == {"reason": "restored"}
    lease = claim(target)
    assert (lease.job_id, lease.attempt) == (running, 2)
    point = leases.resume_point(lease)
    assert point is not None
    assert (point.step, point.weights) == (20, b"weights at 20")
    assert keys.authenticate(target, settings.hash_secret, secret).tenant == TENANT
    assert models.get(target, TENANT, "integrator").serving.pinned


def test_a_database_with_rows_is_replaced_only_where_that_was_said(db: Database, settings: Settings, tmp_path: Path):
    job = submit(db).id
    claim(db)
    backup.write(db, settings, tmp_path / "file")
    with db.begin() as tx:
        tx.execute(text("UPDATE jobs SET attempt = 5"))  # it ran on: attempt 5 may still be alive somewhere
    submit(db)
    with pytest.raises(NotEmpty, match="jobs"):
        backup.restore(db, tmp_path / "file")
    assert len(jobs.list_(db, TENANT).data) == 2
    backup.restore(db, tmp_path / "file", replace=True)
    assert [one.id for one in jobs.list_(db, TENANT).data] == [job]
    assert claim(db).attempt == 6


def change(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE blob_chunks SET data = X'00' WHERE sha256 = (SELECT max(sha256) FROM blob_chunks)",
        "DELETE FROM blob_chunks WHERE sha256 = (SELECT max(sha256) FROM blob_chunks)",
        "DELETE FROM events WHERE seq = 2",
        "DROP TABLE metric_blocks",
        "DROP TABLE backup",
    ],
)
def test_a_damaged_backup_is_refused_and_nothing_is_changed(
    db: Database, settings: Settings, target: Database, tmp_path: Path, statement: str
):
    fill(db, settings)
    backup.write(db, settings, tmp_path / "file")
    change(tmp_path / "file", statement)
    with pytest.raises(BadBackup, match="file"):
        backup.restore(target, tmp_path / "file")
    assert jobs.list_(target, TENANT).data == []


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
def test_what_is_written_while_it_is_made_is_in_it_wholly_or_not_at_all(
    db: Database, settings: Settings, target: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = backup._copy

    def copied(source: Connection, into: Connection, table: Table) -> int:
        count = copy(source, into, table)
        if table.name == "jobs":
            submit(db)  # its events are in a table that comes later
        return count

    monkeypatch.setattr(backup, "_copy", copied)
    backup.write(db, settings, tmp_path / "file")
    monkeypatch.undo()
    assert backup.restore(target, tmp_path / "file").rows["events"] == 0
    assert len(jobs.list_(db, TENANT).data) == 1


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_content_that_is_damaged_in_the_database_is_named_and_stops_no_backup(
    db: Database, settings: Settings, target: Database, tmp_path: Path
):
    fill(db, settings)
    with db.begin() as tx:
        damaged = tx.execute(text("SELECT max(sha256) FROM blob_chunks")).scalar_one()
        tx.execute(text("UPDATE blob_chunks SET data = X'00' WHERE sha256 = :sha256"), {"sha256": damaged})
    assert backup.write(db, settings, tmp_path / "file").damaged == [damaged]
    assert backup.restore(target, tmp_path / "file").damaged == [damaged]


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_file_that_is_there_is_not_written_over_and_one_that_is_none_is_not_restored(
    db: Database, settings: Settings, tmp_path: Path
):
    (tmp_path / "file").write_text("something else")
    with pytest.raises(FileExistsError):
        backup.write(db, settings, tmp_path / "file")
    with pytest.raises(BadBackup, match="no backup"):
        backup.restore(db, tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        backup.restore(db, tmp_path / "nothing")
    assert (tmp_path / "file").read_text() == "something else"


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_backup_of_a_newer_version_is_refused(db: Database, settings: Settings, target: Database, tmp_path: Path):
    backup.write(db, settings, tmp_path / "file")
    with closing(sqlite3.connect(tmp_path / "file")) as connection, connection:
        about = json.loads(connection.execute("SELECT about FROM backup").fetchone()[0])
        connection.execute("UPDATE backup SET about = ?", (json.dumps(about | {"revision": "9999"}),))
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer version"):
        backup.restore(target, tmp_path / "file")


@pytest.mark.parametrize("frozen", sorted(ASSETS.glob("*.sql")), ids=lambda path: path.stem)
def test_a_backup_of_an_older_version_is_brought_up_to_date(target: Database, tmp_path: Path, frozen: Path):
    with closing(sqlite3.connect(tmp_path / "file")) as connection, connection:
        connection.executescript(frozen.read_text())
        names = [table.name for table in backup.TABLES]
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        rows = {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for (name,) in tables
            if name in names
        }
        about = backup.About(1.0, frozen.stem, rows, [], None, backup.mark(SECRET))
        connection.execute("CREATE TABLE backup (about TEXT NOT NULL)")
        connection.execute("INSERT INTO backup VALUES (?)", (json.dumps(asdict(about)),))
    backup.restore(target, tmp_path / "file")
    with target.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM jobs WHERE kind <> ''")).scalar_one() == rows["jobs"] > 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_every_table_but_the_workers_is_in_a_backup(db: Database):
    with db.read() as tx:
        there = set(inspect(tx).get_table_names())
        assert there - {table.name for table in backup.TABLES} == {"alembic_version", "workers"}
        for table in backup.TABLES:
            assert tx.execute(select(func.count()).select_from(table)).scalar_one() == 0
