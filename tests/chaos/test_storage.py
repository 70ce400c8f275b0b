"""A disk that fills while a job runs, and a pooler before the database: no job is lost, no bit differs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from store import schema
from store.settings import Settings
from tests.servers.deployment import Deployment, configure
from tests.servers.disk import SmallDisk
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSQL
from tests.servers.redis import Redis
from tests.servers.worker import PATIENCE, fleet_on, job

pytestmark = pytest.mark.chaos

STEPS = 6000


def test_a_disk_that_is_full_for_a_while_costs_a_running_job_nothing(disk: SmallDisk, tmp_path: Path):
    settings = Settings(data_dir=disk.folder, secret="s")
    schema.migrate(settings)
    with fleet_on(Deployment("embedded", settings), tmp_path, lease_seconds=4.0) as fleet:
        worker = fleet.start()
        job_id = fleet.submit(job(STEPS))
        fleet.until_step(job_id, 700)
        disk.fill()
        deadline = time.monotonic() + PATIENCE
        while "There is no room left" not in worker.log:
            assert time.monotonic() < deadline, worker.log
            time.sleep(0.02)
        assert fleet.get(job_id).status == "running"  # what only reads goes on
        time.sleep(2.0)
        disk.make_room()
        fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)


@pytest.mark.parametrize("empty_settings", ["postgresql"], indirect=True)
def test_a_worker_behind_a_pooler_trains_survives_a_kill_and_ends_with_the_same_bits(
    pgbouncer: PgBouncer, postgresql: PostgreSQL, redis_server: Redis, empty_settings: Settings, tmp_path: Path
):
    url = pgbouncer.through(postgresql.direct(empty_settings.database_url))
    settings = configure(empty_settings, database_url=url, broker_url=redis_server.create_database())
    schema.migrate(settings)
    with fleet_on(Deployment("production", settings), tmp_path, lease_seconds=4.0) as fleet:
        first = fleet.start()
        job_id = fleet.submit(job(STEPS))
        fleet.until_step(job_id, 700)
        first.kill()
        fleet.start()
        fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
        assert fleet.get(job_id).attempt == 2
