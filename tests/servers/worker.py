"""Real worker processes on a deployment, and jobs for them."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from rnn import kinds
from rnn.events import Checkpoint
from rnn.kinds.kind import Inputs
from store import checkpoints, jobs, journal, metrics
from store.db import Database
from store.jobs import NewJob
from store.queue import Doorbell
from store.tables import metric_blocks
from tests.servers.deployment import Deployment
from tests.servers.processes import parents, start
from unroll.contract import SGD, Adam, Event, Job, JobRequest, Network, TaskData, Training, TrainJob, VanillaCell

TENANT = "tests"
READY_SECONDS = 60.0
PATIENCE = 60.0
"""For anything that takes seconds at most: the machine is shared, and a promise is shown by the benchmarks."""


def job(steps: int = 3000, name: str | None = None, **changes: Any) -> TrainJob:
    """Two small replicas; by default some seconds of training with a checkpoint every 400 steps."""
    training = {"batch_size": 16, "evaluate_every": 1000, "checkpoint_every": 400, "optimizer": Adam(lr=0.01)}
    training |= {field: changes.pop(field) for field in Training.model_fields if field in changes}
    network = Network(cell=VanillaCell(**{"hidden_size": 10} | changes.pop("cell", {})), input_size=1, output_size=1)
    data = TaskData(name="integrate_noise", parameters={"length": 20})
    fields: dict[str, Any] = {"name": name, "data": data, "replicas": 2, "seed": 7} | changes
    return TrainJob(model=network, training=Training(steps=steps, **training), **fields)


def diverging_job(**changes: Any) -> TrainJob:
    """An identity network whose updates are far too large: every replica's loss overflows after some steps."""
    sgd = SGD(lr=0.05)
    return job(2000, cell={"activation": "identity"}, optimizer=sgd, evaluate_every=1, **changes)


@cache
def reference_sha256(steps: int) -> str:
    """The hash of the last weights of `job(steps)`, trained here without a service, on one thread as workers do."""
    import torch

    from rnn.training.run import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        last = [event for event in train(job(steps)) if isinstance(event, Checkpoint)][-1]
    finally:
        torch.set_num_threads(threads)
    assert last.reason == "last"
    return hashlib.sha256(last.weights).hexdigest()


class WorkerProcess:
    """`python -m worker`, as a service manager would start it."""

    def __init__(self, deployment: Deployment, folder: Path, failpoints: str = "") -> None:
        self.log_file = folder / f"worker-{time.monotonic_ns()}.log"
        env = deployment.env | {"UNROLL_FAILPOINT": failpoints}
        command = ["env", "-i", *(f"{name}={value}" for name, value in env.items()), sys.executable, "-m", "worker"]
        self.process: subprocess.Popen[bytes] = start(command, self.log_file)
        self.pid = self.process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while " is ready on " not in self.log:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def family(self) -> list[int]:
        """Its descendants: forkserver, resource tracker, trainer child."""
        parent_of = dict(parents())
        found, grown = {self.pid}, True
        while grown:
            more = {pid for pid, parent in parent_of.items() if parent in found} - found
            found |= more
            grown = bool(more)
        return sorted(found - {self.pid})

    def trainer(self) -> int:
        """The trainer child, training or waiting for a job: the one descendant that is no direct child."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            parent_of = dict(parents())
            children = [pid for pid in self.family() if parent_of.get(pid, self.pid) != self.pid]
            if len(children) == 1:  # between two jobs there may be none, or the old one still
                return children[0]
            assert time.monotonic() < deadline, children
            time.sleep(0.02)

    def forkserver(self) -> int:
        """The one child of its own that has a trainer."""
        deadline = time.monotonic() + READY_SECONDS
        while (parent := dict(parents()).get(self.trainer())) is None:  # one job's trainer has left since
            assert time.monotonic() < deadline
        return parent

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the supervisor alone."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def drain(self) -> float:
        """SIGTERM; the seconds until it has left, with exit code 0."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.log
        return time.monotonic() - began


def alive(pid: int) -> bool:
    """Whether the process runs (one that only waits to be reaped does not)."""
    return pid in dict(parents())


class Fleet:
    """Workers on one deployment, and the user of their service."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.deployment, self.settings, self._folder = deployment, deployment.settings, folder
        self.db = Database(deployment.settings)
        self.bell = Doorbell(deployment.settings)
        self._workers: list[WorkerProcess] = []

    def start(self, failpoints: str = "") -> WorkerProcess:
        """A worker that is ready for work."""
        worker = WorkerProcess(self.deployment, self._folder, failpoints)
        self._workers.append(worker)
        worker.wait_ready()
        return worker

    def submit(self, config: JobRequest, *, rings: int = 1, key: str = "key") -> str:
        """As the API does it: commit, then ring."""
        stored, _ = jobs.submit(self.db, TENANT, key, self.checked(config))
        for _ in range(rings):
            self.bell.ring(stored.id, config.device)
            time.sleep(0.02 if rings > 1 else 0.0)  # rings of one job that wait together become one
        return stored.id

    def checked(self, config: JobRequest) -> NewJob:
        """The job with the facts that its kind finds."""
        kind = kinds.KINDS[config.kind]
        read = {one: checkpoints.get(self.db, TENANT, one) for one in config.checkpoints_read().values()}
        facts = kind.check(config, Inputs(read))
        parent = next((one.job for one in read.values()), None)
        return NewJob(config, kind.driver, facts.total, asdict(facts), parent=parent)

    def get(self, job_id: str) -> Job:
        return jobs.get(self.db, TENANT, job_id)

    def until(self, job_id: str, holds: Callable[[Job], bool], seconds: float = PATIENCE) -> Job:
        """The job, as soon as it is as wanted."""
        deadline = time.monotonic() + seconds
        while not holds(found := self.get(job_id)):
            if time.monotonic() > deadline:
                logs = "\n\n".join(worker.log[-3000:] for worker in self._workers)
                raise AssertionError(f"{found}\n{self.events(job_id)[-10:]}\n{logs}")
            time.sleep(0.01)
        return found

    def until_step(self, job_id: str, step: int) -> Job:
        return self.until(job_id, lambda now: now.progress.step >= step)

    def until_ended(self, job_id: str) -> Job:
        return self.until(job_id, lambda now: now.ended_at is not None)

    def events(self, job_id: str) -> list[Event]:
        return journal.read(self.db, TENANT, job_id, limit=100_000)[0]

    def count(self, job_id: str, kind: str) -> int:
        return sum(event.type == kind for event in self.events(job_id))

    def sha256(self, job_id: str) -> str:
        """Of the newest weights."""
        return checkpoints.list_of_job(self.db, TENANT, job_id).data[0].sha256

    def assert_every_step_has_its_metrics_once(self, job_id: str, steps: int) -> None:
        with self.db.read() as tx:
            blocks = tx.execute(
                select(metric_blocks).where(metric_blocks.c.job_id == job_id).order_by(metric_blocks.c.first_step)
            ).all()
        spans = [(block.first_step, block.last_step) for block in blocks]
        assert [first for first, _ in spans] == [1, *(last + 1 for _, last in spans[:-1])]
        found: list[list[int]] = []
        following: int | None = 0
        while following is not None:
            curves = metrics.read(self.db, TENANT, job_id, from_step=following)
            assert len(curves.series) == 3 * 2  # three metrics of two replicas
            found = [[*before, *series.steps] for before, series in zip(found or [[]] * 6, curves.series, strict=True)]
            following = curves.next
        for series_steps in found:
            np.testing.assert_array_equal(series_steps, np.arange(1, steps + 1))

    def assert_ended_as_if_nothing_had_happened(self, job_id: str, steps: int) -> None:
        """Succeeded, with the bits and the curves of an uninterrupted run."""
        ended = self.until_ended(job_id)
        assert ended.status == "succeeded", ended.error
        assert ended.progress.step == steps
        assert self.sha256(job_id) == reference_sha256(steps)
        self.assert_every_step_has_its_metrics_once(job_id, steps)
        found = self.events(job_id)
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        assert [event.type for event in found].count("end") == 1
        assert found[-1].type == "end"

    def close(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGCONT)
            worker.kill()
        self.bell.close()
        self.db.close()


@contextmanager
def fleet_on(deployment: Deployment, folder: Path, **settings: Any) -> Iterator[Fleet]:
    """A fleet without workers yet, quick to ring again."""
    fleet = Fleet(deployment.with_(reconcile_seconds=0.3, flush_seconds=0.1, **settings), folder)
    try:
        yield fleet
    finally:
        fleet.close()
