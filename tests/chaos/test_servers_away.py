"""The broker and the database go away under a running service, and come back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from store import schema
from store.settings import Settings
from tests.servers.deployment import Deployment
from tests.servers.postgresql import OwnPostgreSQL
from tests.servers.redis import OwnRedis
from tests.servers.worker import Fleet, fleet_on, job

pytestmark = pytest.mark.chaos


@pytest.fixture
def redis_of_our_own() -> Iterator[OwnRedis]:
    server = OwnRedis()
    yield server
    server.stop()


@pytest.fixture
def postgresql_of_our_own() -> Iterator[OwnPostgreSQL]:
    server = OwnPostgreSQL()
    yield server
    server.stop()


@pytest.mark.parametrize("moment", ["killed", "frozen"])
def test_jobs_submitted_while_redis_is_away_run_when_it_is_back(
    redis_of_our_own: OwnRedis, tmp_path: Path, moment: str
) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=redis_of_our_own.create_database(), secret="a secret")
    schema.migrate(settings)
    with fleet_on(Deployment("redis", settings), tmp_path) as fleet:
        worker = fleet.start()
        running = fleet.submit(job())
        fleet.until_step(running, 100)
        if moment == "killed":
            redis_of_our_own.kill()  # and forgets what it held
        else:
            redis_of_our_own.freeze()
        began = time.monotonic()
        waiting = [fleet.submit(job(300)) for _ in range(3)]
        assert time.monotonic() - began < 5.0  # submitting does not wait for the broker
        fleet.assert_ended_as_if_nothing_had_happened(running, 3000)  # nor does a job that runs
        time.sleep(2.0)
        if moment == "killed":
            redis_of_our_own.start()
        else:
            redis_of_our_own.thaw()
        for job_id in waiting:
            fleet.assert_ended_as_if_nothing_had_happened(job_id, 300)
        assert worker.process.poll() is None
        assert worker.drain() < fleet.settings.drain_seconds


def test_jobs_run_after_the_folder_of_the_file_broker_was_removed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, secret="a secret")
    schema.migrate(settings)
    with fleet_on(Deployment("files", settings), tmp_path) as fleet:
        worker = fleet.start()
        shutil.rmtree(tmp_path / "queue")
        time.sleep(0.5)
        fleet.assert_ended_as_if_nothing_had_happened(fleet.submit(job(300)), 300)
        assert worker.process.poll() is None


def test_training_goes_on_while_the_database_restarts(
    postgresql_of_our_own: OwnPostgreSQL, redis_server: object, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        database_url=postgresql_of_our_own.create_database(),
        broker_url=redis_server.create_database(),  # type: ignore[attr-defined]
        secret="a secret",
    )
    schema.migrate(settings)
    with fleet_on(Deployment("postgresql", settings), tmp_path) as fleet:
        worker = fleet.start()
        job_id = fleet.submit(job())
        for step in (300, 1500):
            fleet.until_step(job_id, step)
            postgresql_of_our_own.interrupt()
            time.sleep(0.3)
            postgresql_of_our_own.start()
        _after_the_restart(fleet, job_id)
        assert worker.process.poll() is None


def _after_the_restart(fleet: Fleet, job_id: str) -> None:
    fleet.assert_ended_as_if_nothing_had_happened(job_id, 3000)
    assert fleet.get(job_id).attempt == 1
