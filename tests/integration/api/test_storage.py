"""Where nothing can be written, what only reads goes on, readiness tells the truth, and writes are told why: 503."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx2
import pytest
from sqlalchemy import text

from store import db as store_db
from store import schema
from store.db import Database
from store.settings import Settings
from tests.integration.api.serving import JOB, Api, fetch, problem, serving
from tests.servers.disk import SmallDisk


@pytest.fixture(autouse=True)
def _ask_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_db, "PROBE_SECONDS", 0.0)


@contextmanager
def served(settings: Settings) -> Iterator[tuple[Api, httpx2.Client, str]]:
    """A server, a client whose key was not used for a long time, and a job."""
    with serving(settings) as api, api.client() as client:
        assert fetch("GET", f"{api.url}/readyz").status_code == 200
        job = client.post("/v1/jobs", json=JOB).json()["id"]
        with api.db.begin() as tx:
            tx.execute(text("UPDATE keys SET last_used_at = 1"))
        yield api, client, job


def refused(api: Api, client: httpx2.Client, job: str, code: str) -> str:
    """Reads go on and writes do not; what a refused write is told."""
    for _ in range(3):  # authentication would write at each of them, as the key's last use is long ago
        assert client.get(f"/v1/jobs/{job}").status_code == 200
    assert client.get("/v1/me").status_code == 200
    answer = client.post("/v1/jobs", json=JOB)
    document = problem(answer, 503, code)
    assert document["retryable"]
    assert int(answer.headers["retry-after"]) > 0
    problem(fetch("GET", f"{api.url}/readyz"), 503, code)
    assert fetch("GET", f"{api.url}/livez").status_code == 200
    return str(document["detail"])


def accepted(api: Api, client: httpx2.Client) -> None:
    assert client.post("/v1/jobs", json=JOB).status_code == 202
    assert fetch("GET", f"{api.url}/readyz").status_code == 200


def test_a_full_disk_stops_no_reads_and_when_there_is_room_again_writes_go_on(disk: SmallDisk):
    settings = Settings(data_dir=disk.folder, secret="s")  # type: ignore[arg-type]
    schema.migrate(settings)
    with served(settings) as (api, client, job):
        disk.fill()
        said = refused(api, client, job, "storage_full")
        assert str(disk.folder / "unroll.db") in said
        disk.make_room()
        accepted(api, client)


@pytest.mark.parametrize("empty_settings", ["postgresql"], indirect=True)
def test_a_full_disk_of_postgresql_stops_no_reads(empty_settings: Settings):
    schema.migrate(empty_settings)
    with served(empty_settings) as (api, client, job), api.db.begin() as tx:
        # the server answers as it does when a file cannot grow
        full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE disk_full; END$$;"
        for table in ("jobs", "keys", "alembic_version"):
            full += f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION full_disk();"
        tx.exec_driver_sql(full)
        tx.commit()
        refused(api, client, job, "storage_full")


@pytest.mark.parametrize("empty_settings", ["postgresql"], indirect=True)
def test_a_replica_that_only_reads_stops_no_reads(empty_settings: Settings):
    schema.migrate(empty_settings)
    name = empty_settings.database_url.rsplit("/", 1)[1]
    with served(empty_settings) as (api, client, job), api.db.begin() as tx:
        for only in ("on", "off"):
            tx.exec_driver_sql(
                f"COMMIT; BEGIN READ WRITE; ALTER DATABASE {name} SET default_transaction_read_only = {only}; COMMIT;"
                "BEGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            if only == "on":
                refused(api, client, job, "read_only")
            else:
                accepted(api, client)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_write_lock_that_is_held_for_long_stops_no_reads_however_many_want_to_write(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    """Eight writers wait with patience, the others give up soon, so that threads are left for those who read."""
    monkeypatch.setattr(store_db, "CROWD_SECONDS", 0.2)
    monkeypatch.setattr(store_db, "BUSY_SECONDS", 30.0)
    with served(settings) as (api, client, job):
        answers: list[httpx2.Response] = []

        def write() -> None:
            with httpx2.Client(
                base_url=api.url, headers=client.headers, timeout=60, trust_env=False, verify=False
            ) as own:
                answers.append(own.post("/v1/jobs", json=JOB))

        writers = [threading.Thread(target=write) for _ in range(40)]  # more than the server has threads
        begun = time.monotonic()
        with closing(Database(settings)) as other, other.begin():
            for writer in writers:
                writer.start()
            while not answers:
                time.sleep(0.01)
            for _ in range(5):
                assert client.get(f"/v1/jobs/{job}").status_code == 200
            assert time.monotonic() - begun < store_db.BUSY_SECONDS / 2
            waiting = sum(writer.is_alive() for writer in writers)
            problem(fetch("GET", f"{api.url}/readyz"), 503, "database_unavailable")
        for writer in writers:
            writer.join()
        assert waiting >= store_db.CROWD  # patient ones were still there when the reads had been answered
        refused_writes = [answer for answer in answers if answer.status_code == 503]
        assert refused_writes
        for answer in refused_writes:
            problem(answer, 503, "database_unavailable")
            assert int(answer.headers["retry-after"]) > 0
        accepted(api, client)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_damaged_file_is_named(settings: Settings):
    path = settings.data_dir / "unroll.db"
    with served(settings) as (api, client, _):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            other.execute("BEGIN IMMEDIATE")
            other.execute("UPDATE keys SET last_used_at = 2")
            with path.open("r+b") as file:
                size = file.seek(0, 2)
                file.seek(4096)
                file.write(b"\xff" * (size - 4096))
            other.execute("COMMIT")  # whoever remembers pages of the file reads them again
        for answer in (client.get("/v1/me"), fetch("GET", f"{api.url}/readyz")):
            document = problem(answer, 503, "storage_failed")
            assert str(path) in document["detail"]
            assert not document["retryable"]
        assert fetch("GET", f"{api.url}/livez").status_code == 200
