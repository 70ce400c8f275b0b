"""How many threads a worker gives a job, and which number a job keeps."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from rnn import kernels
from store import cores, fleet, jobs
from store.settings import Settings
from tests.servers.deployment import Deployment
from tests.servers.worker import TENANT, Fleet, WorkerProcess, fleet_on, job
from unroll.contract import TaskData, TrainJob


def wide() -> TrainJob:
    """A network that pays for more threads than one."""
    data = TaskData(name="integrate_noise", parameters={"length": 100})
    made = job(1_000_000, cell={"hidden_size": 100}, batch_size=64, evaluate_every=1_000_000)
    return made.model_copy(update={"data": data})


def threads_of(found: Fleet, config: TrainJob) -> int:
    """The number that a job was given. The job is cancelled."""
    job_id = found.submit(config)
    running = found.until_step(job_id, 1)
    jobs.cancel(found.db, TENANT, job_id)
    found.until_ended(job_id)
    assert running.environment is not None
    return running.environment.threads


def test_a_job_keeps_its_threads_where_it_goes_on_and_a_new_one_gets_its_workers_share(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shutil.copy(request.getfixturevalue("_migrated_file"), tmp_path / "unroll.db")
    deployment = Deployment("embedded", Settings(data_dir=tmp_path, secret="a secret"))
    with fleet_on(deployment, tmp_path) as found:
        told = WorkerProcess(deployment.with_(threads=3), tmp_path)
        found._workers.append(told)
        told.wait_ready()
        job_id = found.submit(job(1_000_000))
        found.until_step(job_id, 401)
        told.drain()
        found.start()
        gone_on = found.until(job_id, lambda now: now.attempt == 2 and now.progress.step > 1000)
        assert gone_on.environment is not None
        assert gone_on.environment.threads == 3, "a new job like this one gets one thread"
        assert found.count(job_id, "environment_changed") == 0
        jobs.cancel(found.db, TENANT, job_id)

        assert threads_of(found, job(1_000_000)) == 1
        most = cores.allowed() if kernels.available() else 1  # the workspace trains this one on one thread
        assert threads_of(found, wide()) == min(most, 32)
        for number in range(1, most):
            fleet.enlist(found.db, f"beside-{number}", platform.node()[:255], os.getpid(), "cpu", "0")
        with found.db.begin() as tx:
            tx.execute(text("UPDATE workers SET seen_at = seen_at + 1000 WHERE id LIKE 'beside%'"))
        assert threads_of(found, wide()) == 1
