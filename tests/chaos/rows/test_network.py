"""The row of docs/reliability.md in which a worker is cut off from database and broker."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.chaos.rows.conftest import Row
from tests.chaos.rows.test_workers import owner
from tests.servers import worker as workers_module
from tests.servers.deployment import Deployment
from tests.servers.worker import Fleet, WorkerProcess, fleet_on, job

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

RowOf = Callable[[str, Deployment], Row]
STEPS = 9000


def ip(*arguments: str) -> None:
    answer = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {answer.stderr.strip()}")


class Place:
    """A network namespace with a cable to this one."""

    def __init__(self, number: int) -> None:
        mark = f"{os.getpid() % 100_000}x{number}"
        self.name, self.cable, far = f"unroll-{mark}", f"u{mark}", f"v{mark}"
        self.host, own = f"10.213.{number}.1", f"10.213.{number}.2"
        ip("netns", "add", self.name)
        try:
            ip("link", "add", self.cable, "type", "veth", "peer", "name", far)
            ip("link", "set", far, "netns", self.name)
            ip("addr", "add", f"{self.host}/30", "dev", self.cable)
            ip("link", "set", self.cable, "up")
            for arguments in (["addr", "add", f"{own}/30", "dev", far], ["link", "set", far, "up"]):
                ip("-n", self.name, *arguments)
            ip("-n", self.name, "link", "set", "lo", "up")
        except OSError:
            self.remove()
            raise

    def cut(self) -> None:
        ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        ip("link", "set", self.cable, "up")

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            ip("link", "del", self.cable)
        with contextlib.suppress(OSError):
            ip("netns", "del", self.name)


@contextmanager
def places(count: int) -> Iterator[list[Place]]:
    made: list[Place] = []
    try:
        for number in range(1, count + 1):
            made.append(Place(number))  # noqa: PERF401 - what was made must be removed
        yield made
    except OSError as error:
        if len(made) < count:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        raise
    finally:
        for place in made:
            place.remove()


@contextmanager
def forwarded(host: str, port: int) -> Iterator[int]:
    """A port of `host` that leads to the same port of 127.0.0.1, where the servers listen."""
    listener = socket.create_server((host, 0))

    def copy(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for side in (one, other):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def carry(near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as far:
            back = threading.Thread(target=copy, args=(far, near), daemon=True)
            back.start()
            copy(near, far)
            back.join()

    def accept() -> None:
        with listener, contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=carry, args=(near,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def start_in(fleet: Fleet, place: Place, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> WorkerProcess:
    """A worker whose only way to database and broker is the cable."""
    there = fleet.deployment.with_(**urls)
    real = workers_module.start
    with monkeypatch.context() as patch:
        patch.setattr(
            workers_module,
            "start",
            lambda command, log: real(["ip", "netns", "exec", place.name, *command], log),
        )
        patch.setattr(fleet, "deployment", there)
        return fleet.start()


def test_network(row_of: RowOf, deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of("network", deployment)
    if deployment.name == "embedded":
        row.found("- (one machine, no network between)")
        return
    rounds = row.times(4)
    settings = deployment.settings
    with (
        contextlib.ExitStack() as stack,
        fleet_on(deployment, tmp_path, lease_seconds=3.0, max_crashes=1000) as fleet,
    ):
        made = stack.enter_context(places(2))
        workers = []
        for place in made:
            urls = {}
            for name in ("database_url", "broker_url"):
                url = getattr(settings, name)
                port = urlsplit(url).port
                there = stack.enter_context(forwarded(place.host, port))
                urls[name] = url.replace(f"127.0.0.1:{port}", f"{place.host}:{there}")
            workers.append(start_in(fleet, place, urls, monkeypatch))
        for _ in range(rounds):
            job_id = fleet.submit(job(STEPS))
            fleet.until_step(job_id, 700)
            holder = owner(fleet, job_id, workers)
            assert holder is not None
            place = made[workers.index(holder)]
            place.cut()
            fleet.until(job_id, lambda now: now.attempt == 2, 120)
            place.mend()
            fleet.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
            assert fleet.get(job_id).attempt == 2
            fleet.assert_ended_as_if_nothing_had_happened(fleet.submit(job(300)), 300)
        assert all(worker.process.poll() is None for worker in workers)
    row.found(f"{rounds} times cut off until the takeover: one end, metrics once, SHA-256 equal; both workers go on")
