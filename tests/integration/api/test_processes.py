"""Two real API processes behind one address, and what nobody may notice of it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unroll
from api.cli.failures import Failure
from api.cli.processes import Process
from api.cli.several import require_alive
from store import schema
from store.db import Database
from store.settings import Settings
from tests.integration.api.serving import JOB, Api, trained
from tests.servers.deployment import environment
from tests.servers.processes import free_port, parents
from tests.servers.up import command

pytestmark = pytest.mark.timeout(120)

NET: dict[str, Any] = {"name": "net", "config": JOB["model"]}
CONNECTED, LISTENS = "01", "0A"
"""States of sockets in /proc/net/tcp."""
X = np.random.default_rng(0).standard_normal((30, 1)).round(6)


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What the condition gave at last."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Served:
    """An `unroll-server api` that runs."""

    process: subprocess.Popen[Any]
    port: int
    api: Api

    def pids(self) -> set[int]:
        """The API processes that serve."""
        return {pid for pid, parent in parents() if parent == self.process.pid and self._has(pid, LISTENS)}

    def connected(self, pid: int) -> bool:
        """Whether the process has a connection."""
        return self._has(pid, CONNECTED)

    def _has(self, pid: int, state: str) -> bool:
        return not _sockets(pid).isdisjoint(name for own, _, name in _rows(state) if own == self.port)


@contextmanager
def api_process(settings: Settings, log: Path, *arguments: str) -> Iterator[Served]:
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("api", "--port", str(port), *arguments), env=environment(settings), stdout=output, stderr=output
        )
    db = Database(settings, pool_size=2)
    try:
        yield Served(process, port, Api(settings, db, f"http://127.0.0.1:{port}"))
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        db.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("together")
    settings = Settings(data_dir=folder, secret="the tests' secret")  # type: ignore[arg-type]
    schema.migrate(settings)
    with api_process(settings, folder / "log", "--processes", "2") as server:
        until(lambda: server.process.poll() is not None or len(server.pids()) == 2)
        assert server.process.poll() is None, (folder / "log").read_text()
        with server.api.client() as client:
            client.post("/v1/models", json=NET)
            trained(server.api, client, JOB | {"model": "net"})
        yield server


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found.add(str(descriptor.readlink()))
            except FileNotFoundError:
                continue
    except FileNotFoundError:
        pass
    return found


def _rows(state: str) -> Iterator[tuple[int, int, str]]:
    """Of each TCP connection: its port, its peer's, and its name among the open files of whoever has it."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == state:
            yield int(fields[1][9:], 16), int(fields[2][9:], 16), f"socket:[{fields[9]}]"


OPEN: list[http.client.HTTPConnection] = []


def close_all() -> None:
    while OPEN:
        OPEN.pop().close()


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    close_all()


class Connection:
    """A connection that is kept open, or fails."""

    def __init__(self, served: Served, key: str) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        self.http.connect()
        OPEN.append(self.http)
        self.http.auto_open = 0
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        assert self.ask("GET", "/livez")[0] == 200
        ours = self.http.sock.getsockname()[1]
        (name,) = [name for own, peer, name in _rows(CONNECTED) if (own, peer) == (served.port, ours)]
        (self.pid,) = [pid for pid in served.pids() if name in _sockets(pid)]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and document."""
        self.http.request(method, path, None if body is None else json.dumps(body), self.headers | headers)
        response = self.http.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content[:1] in (b"{", b"[") else content.decode()


def one_to_each(served: Served, key: str) -> list[Connection]:
    """Connections to both processes; the kernel decides where each goes, so there are as many as it takes."""
    found: dict[int, Connection] = {}
    until(lambda: len(served.pids()) == 2)

    def another() -> bool:
        made = Connection(served, key)
        found[made.pid] = made
        return len(found) == 2

    until(another)
    return list(found.values())


def kill(served: Served, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in served.pids())


def whole(connection: Connection) -> Any:
    return connection.ask("POST", "/v1/models/net/predict", {"inputs": [X.tolist()]})[1]["outputs"][0]


def test_steps_of_a_session_may_come_to_any_process(served: Served):
    both = one_to_each(served, served.api.key())
    _, session = both[0].ask("POST", "/v1/sessions", {"model": "net"})
    found = []
    for t, at in enumerate([0, 1, 1, 0, 1, 0]):
        body = {"inputs": [[X[t].tolist()]]}
        status, answer = both[at].ask("POST", f"/v1/sessions/{session['id']}/step", body, **{"If-Match": f'"{t}"'})
        assert status == 200, answer
        found += answer["outputs"][0]
    assert found == whole(both[0])[:6]


def test_where_a_process_is_killed_its_stream_goes_on_in_the_same_bits_and_connections_and_counts_stay(served: Served):
    key = served.api.key()
    expected = whole(one_to_each(served, key)[0])
    close_all()
    until(lambda: not any(served.connected(pid) for pid in served.pids()))
    with unroll.Client(served.api.url, key) as client, client.stream("net") as stream:
        found = [stream.push(x) for x in X[:5]]
        (owner,) = [pid for pid in served.pids() if served.connected(pid)]
        dies, stays = sorted(one_to_each(served, key), key=lambda one: one.pid != owner)
        for _ in range(2):
            assert dies.ask("POST", "/v1/sessions", {"model": "net"})[0] == 201
        before = until(lambda: (seen := counted(stays))["unroll_sessions"] >= 3 and seen)
        kill(served, owner)
        found += [stream.push(x) for x in X[5:]]
        # the stream's session is in the other's memory now, those two are in none; what was counted stays
        most = before["unroll_sessions"] - 2
        after = until(lambda: (seen := counted(stays))["unroll_sessions"] <= most and seen, 20)
        sums = [name for name in before if name.partition("{")[0].endswith(("_total", "_count"))]
        assert len(sums) > 5
        assert all(after.get(name, 0) >= before[name] for name in sums)
    assert np.array_equal(np.array(found), np.array(expected))


def test_a_key_that_one_process_revoked_is_refused_by_the_other_within_a_second(served: Served):
    admin = one_to_each(served, served.api.key())
    key = served.api.key("predict")
    revoked = next(row["id"] for row in admin[0].ask("GET", "/v1/keys")[1]["data"] if row["scopes"] == ["predict"])
    others = one_to_each(served, key)
    body = {"inputs": [[[0.5]]]}
    for connection in others:
        for _ in range(3):  # from the second one on, the short way
            assert connection.ask("POST", "/v1/models/net/predict", body)[0] == 200
    assert admin[0].ask("DELETE", f"/v1/keys/{revoked}")[0] in {200, 204}
    at = time.monotonic()
    for connection in others:
        asked = time.monotonic()
        while (status := connection.ask("POST", "/v1/models/net/predict", body)[0]) == 200:
            assert asked - at < 1.0
            asked = time.monotonic()
        assert status == 401


def test_metrics_are_those_of_all_processes(served: Served):
    both = one_to_each(served, served.api.key())
    before = counted(both[0])
    for connection, times in zip(both, (3, 4), strict=True):
        for _ in range(times):
            connection.ask("GET", "/v1/tasks")
        assert connection.ask("POST", "/v1/sessions", {"model": "net"})[0] == 201
    asked = 'unroll_http_requests_total{method="GET",route="/v1/tasks",status="200"}'
    seconds = 'unroll_http_response_seconds_count{method="GET",route="/v1/tasks"}'
    for connection in both:
        now = counted(connection)
        assert now[asked] - before.get(asked, 0) == 7
        assert now[seconds] - before.get(seconds, 0) == 7
        assert now["unroll_database_up"] == 1
        until(lambda one=connection: counted(one)["unroll_sessions"] == before["unroll_sessions"] + 2)


def counted(connection: Connection) -> dict[str, float]:
    """Every series that /metrics has, which must be there once."""
    status, text = connection.ask("GET", "/metrics")
    assert status == 200
    rows = [row.rpartition(" ") for row in text.splitlines() if not row.startswith("#")]
    found = {name: float(value) for name, _, value in rows}
    assert len(found) == len(rows)
    return found


def test_what_cannot_start_is_told_with_its_reason(served: Served):
    env = environment(served.api.settings)
    again = subprocess.run(
        command("api", "--port", str(served.port), "--processes", "2"),
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert again.returncode == 1
    assert again.stderr == (
        f"error: Port {served.port} of 127.0.0.1 is in use; choose another with --port or UNROLL_PORT\n"
    )
    fine = Process("one", [sys.executable, "-c", "import time; time.sleep(60)"], 1.0)
    wrong = Process("another", [sys.executable, "-c", "raise SystemExit(2)"], 1.0)
    for process in (fine, wrong):
        process.start()
    try:
        wrong.popen.wait()
        with pytest.raises(Failure) as failed:
            require_alive([fine, wrong])
        assert failed.value.exit_code == 2
    finally:
        fine.popen.kill()
        fine.popen.wait()


def test_a_log_that_nobody_reads_stops_no_request_and_nothing_of_it_is_lost(tmp_path: Path):
    settings = Settings(data_dir=tmp_path, secret="the tests' secret")  # type: ignore[arg-type]
    schema.migrate(settings)
    port, count = free_port(), 700
    with subprocess.Popen(
        command("api", "--port", str(port)), env=environment(settings), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            said = ""
            while "startup complete" not in said:
                said = process.stderr.readline()
                assert said, "it did not start"
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            OPEN.append(connection)
            for i in range(count):  # far more lines than a pipe holds
                connection.request("GET", "/livez", headers={"X-Request-ID": f"r-{i}"})
                assert connection.getresponse().read()
            process.terminate()
            lines = re.findall(r'"request_id": "r-(\d+)"', process.stderr.read())
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert lines == [str(i) for i in range(count)]
