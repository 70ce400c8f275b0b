"""The production topology, started natively: PostgreSQL, Redis with a password, two API processes, two workers."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import unroll
from store.settings import Settings
from tests.servers.deployment import environment
from tests.servers.postgresql import PostgreSQL
from tests.servers.processes import free_port, start
from tests.servers.redis import Redis
from tests.servers.up import command, run

pytestmark = pytest.mark.timeout(300)  # several services start and stop in each

NETWORK = {"cell": {"type": "vanilla", "hidden_size": 6}, "input_size": 1, "output_size": 1}
DATA = {"type": "task", "name": "integrate_noise", "parameters": {"length": 10}}


@dataclass
class Fleet:
    """What runs, and a client an API process."""

    folder: Path
    env: dict[str, str]
    ports: tuple[int, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    clients: list[unroll.Client] = field(default_factory=list)

    def start(self, kind: str, number: int) -> None:
        """Start one process. A folder each: nothing but the database and Redis is shared, as on several machines."""
        name = f"{kind}{number}"
        own = {"UNROLL_DATA_DIR": str(self.folder / name), "UNROLL_PORT": str(self.ports[number])}
        self.processes[name] = start(command(kind), self.folder / f"{name}.log", env=self.env | own)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.processes[name].kill()
        self.processes[name].wait()

    def complete(self) -> bool:
        """Whether both APIs answer and both workers are alive."""
        return all(client.ready() for client in self.clients) and len(alive(self.clients[0])) == 2

    def stop(self) -> None:
        """SIGTERM to all, workers first; each must leave by itself, with exit code 0."""
        codes = {}
        for name in sorted(self.processes, reverse=True):
            self.processes[name].terminate()
        for name, process in self.processes.items():
            try:
                codes[name] = process.wait(45)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        assert set(codes.values()) == {0}, (codes, self.logs())

    def logs(self) -> str:
        """The end of every log."""
        return "\n".join(f"{log.name}:\n{log.read_text()[-4000:]}" for log in sorted(self.folder.glob("*.log")))


@pytest.fixture(scope="module")
def fleet(postgresql: PostgreSQL, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    database_url = postgresql.create_database()
    settings = Settings(
        data_dir=folder / "cli",
        database_url=database_url,
        broker_url=redis_server.create_database(),
        secret="shared by all",
        lease_seconds=3.0,
        reconcile_seconds=0.5,
    )
    fleet = Fleet(folder, environment(settings), (free_port(), free_port()))
    assert run(fleet.env, "migrate").returncode == 0
    made = run(fleet.env, "key", "create", "--name", "fleet")
    assert made.returncode == 0, made.stderr
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(postgresql.drop_database, database_url)
        cleanup.callback(fleet.stop)
        for number in (0, 1):
            fleet.start("api", number)
            fleet.start("worker", number)
            client = unroll.Client(f"http://127.0.0.1:{fleet.ports[number]}", made.stdout.strip())
            fleet.clients.append(cleanup.enter_context(client))
        assert until(fleet.complete), fleet.logs()
        yield fleet


def until(condition: Callable[[], bool], seconds: float = 45.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def alive(client: unroll.Client) -> list[int]:
    return [worker.pid for worker in client.workers() if worker.alive]


def training(steps: int) -> dict[str, object]:
    return {"steps": steps, "batch_size": 8, "evaluate_every": 100, "checkpoint_every": 200}


def test_jobs_from_both_apis_run_on_both_workers_and_all_end_once(fleet: Fleet) -> None:
    jobs = [
        fleet.clients[number % 2].train(model=NETWORK, data=DATA, training=training(1500), seed=number)
        for number in range(8)
    ]
    # each is waited for at the API that did not take it
    for number, job in enumerate(jobs):
        ended = fleet.clients[(number + 1) % 2].job(job.id).wait(timeout=100)
        assert (ended.status, ended.attempt, ended.progress.step) == ("succeeded", 1, 1500)
    journals = [list(job.events()) for job in jobs]
    for events in journals:
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert [event.type for event in events].count("end") == 1
    assert len({event.data["worker"] for events in journals for event in events if event.type == "started"}) == 2
    found = {job.id for job in fleet.clients[0].jobs.list(status=["succeeded"], limit=3)}
    assert {job.id for job in jobs} <= found


def test_a_stream_at_one_api_follows_a_job_submitted_at_the_other(fleet: Fleet) -> None:
    here, there = fleet.clients
    job = there.train(model=NETWORK, data=DATA, training=training(2500))
    seen: list[unroll.Event] = []
    reader = threading.Thread(target=lambda: seen.extend(here.jobs.stream(job.id)), daemon=True)
    reader.start()
    others = [there.train(model=NETWORK, data=DATA, training=training(50), seed=seed) for seed in range(5)]
    for other in others:
        assert other.wait(timeout=100).status == "succeeded"
    reader.join(100)
    assert not reader.is_alive()
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].type == "end"
    assert seen[-1].data["status"] == "succeeded"
    assert {"queued", "started", "progress", "evaluation", "checkpoint"} <= {event.type for event in seen}


def test_an_api_that_is_killed_is_replaced_by_the_other(fleet: Fleet) -> None:
    first, second = fleet.clients
    config = {"model": NETWORK, "data": DATA, "training": training(2500)}
    job = first.train(**config, idempotency_key="one-of-a-kind")
    seen = []
    for event in first.jobs.stream(job.id):
        seen.append(event)
        if event.type == "progress":
            break
    fleet.kill("api0")
    assert not first.ready()
    # the answer might have been lost: what was submitted is asked for once more, at the other one
    again = second.train(**config, idempotency_key="one-of-a-kind")
    assert again.id == job.id
    seen += second.jobs.stream(job.id, after=seen[-1].seq)
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert again.wait(timeout=100).status == "succeeded"
    assert again.job.attempt == 1, "the worker never noticed"
    fleet.start("api", 0)
    assert until(fleet.complete), fleet.logs()
    assert first.jobs.get(job.id).status == "succeeded"


def test_a_worker_that_is_killed_is_replaced_by_the_other(fleet: Fleet) -> None:
    client = fleet.clients[0]
    job = client.train(model=NETWORK, data=DATA, training=training(8000))
    assert until(lambda: job.refresh().summary.last_checkpoint is not None)
    started = next(event for event in job.events() if event.type == "started")
    owner = next(worker.pid for worker in client.workers() if worker.id == started.data["worker"])
    victim = next(name for name, process in fleet.processes.items() if process.pid == owner)
    fleet.kill(victim)
    ended = job.wait(timeout=110)
    assert (ended.status, ended.attempt, ended.progress.step) == ("succeeded", 2, 8000)
    loss = job.metrics("loss")
    assert loss.steps.tolist() == list(range(1, 8001))
    assert np.isfinite(loss["loss"]).all()
    fleet.start("worker", int(victim[-1]))
    assert until(fleet.complete), fleet.logs()


def test_both_apis_predict_the_same(fleet: Fleet) -> None:
    first, second = fleet.clients
    first.models.register("shared", NETWORK)
    job = second.train(model="shared", data=DATA, training=training(300), replicas=3)
    assert job.wait(timeout=100).status == "succeeded"
    x = np.random.default_rng(5).standard_normal((4, 12, 1))
    answers = [
        client.models.predict("shared", x, returns=["outputs", "hidden", "state"], replica="all")
        for client in fleet.clients
    ]
    assert answers[0].checkpoint == answers[1].checkpoint
    assert np.shape(answers[0].outputs) == (4, 3, 12, 1)
    np.testing.assert_array_equal(answers[0].outputs, answers[1].outputs)
    np.testing.assert_array_equal(answers[0].hidden, answers[1].hidden)
    weights = [client.checkpoints.content(answers[0].checkpoint) for client in fleet.clients]
    assert weights[0] == weights[1]
