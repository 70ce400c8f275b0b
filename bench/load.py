"""Measures the API under load: `python bench/load.py`, on SQLite with files and on PostgreSQL with Redis.

1. Streams: 0, 1, 300 and 1,000 event streams of one job whose journal grows, and the time of ordinary requests
   meanwhile. A stream's lag is from the entry's time in the database to the client's receiving it. Every stream is
   checked to be gapless.
2. Predictions: 30 clients that post bodies of 1.3 MB without a pause, and the API's memory.
3. Jobs: 8 clients that submit a job, get it and list jobs, without a pause.

Clients are processes of their own on the same machine, so they take processor time from the API.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import multiprocessing
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "sdk")]

from store import keys, leases, schema  # noqa: E402
from store.db import Database  # noqa: E402
from store.queue import Notifier  # noqa: E402
from store.settings import Settings  # noqa: E402
from tests.integration.api.serving import JOB, checkpoint  # noqa: E402
from tests.servers import postgresql, redis  # noqa: E402
from tests.servers.deployment import environment  # noqa: E402
from unroll.contract import NewKey  # noqa: E402

FLUSH_SECONDS, ENTRY_EVERY = 0.25, 2
"""A worker reports four times a second, and every second report adds to the journal."""
PREDICT_CLIENTS, JOB_CLIENTS = 30, 8


@dataclass(frozen=True)
class Api:
    """An API in a process of its own, and what its clients need."""

    settings: Settings
    db: Database
    port: int
    pid: int
    key: str

    def memory(self) -> int:
        """Return the most memory that the API has had, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int, key: str) -> None:
        """Connect."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, float]:
        """Return status, body and milliseconds."""
        begin = time.perf_counter()
        self._connection.request(method, path, body, self._headers)
        response = self._connection.getresponse()
        content = response.read()
        return response.status, content, 1000 * (time.perf_counter() - begin)


def main() -> None:
    """Measure both databases and print the tables."""
    parser = argparse.ArgumentParser(description="The API under load.")
    parser.add_argument("--streams", type=int, nargs="*", default=[0, 1, 300, 1000], help="default: 0 1 300 1000")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (default: 20)")
    parser.add_argument("--only", choices=["streams", "predict", "jobs"], help="measure only one part")
    parser.add_argument("--on", choices=["sqlite", "postgresql"], help="measure only one database")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    descriptors = max(options.streams, default=0) + 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors, hard), hard))
    parts: dict[str, Callable[[Api], Any]] = {
        "streams": lambda api: [streams(api, count, options.seconds) for count in options.streams],
        "predict": lambda api: predictions(api, options.seconds),
        "jobs": lambda api: job_requests(api, options.seconds),
    }
    figures: dict[str, Any] = {}
    for name in ("sqlite", "postgresql"):
        if options.on not in (None, name):
            continue
        for part, measure in parts.items():
            if options.only in (None, part):
                with serving(name) as api:
                    figures.setdefault(part, {})[name] = measure(api)
                    print(f"measured {part} on {name}", file=sys.stderr)
    print("\n\n".join(TABLES[part](found) for part, found in figures.items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


# --- streams ------------------------------------------------------------------------------------------------------


def streams(api: Api, count: int, seconds: float) -> dict[str, Any]:
    """Return the lag of `count` streams of one job, and the milliseconds of other requests meanwhile."""
    client = Client(api.port, api.key)
    client.ask("POST", "/v1/jobs", json.dumps(JOB).encode())
    lease = leases.claim(api.db, "bench", "cpu", 600.0)
    assert lease is not None
    over, writer = threading.Event(), None
    ours, theirs = multiprocessing.Pipe()
    follower = multiprocessing.get_context("spawn").Process(
        target=_follow, args=(api.port, api.key, lease.job_id, count, theirs)
    )
    if count:
        follower.start()
        assert ours.recv() == "connected"
    writer = threading.Thread(target=_report, args=(api.settings, lease, over))
    writer.start()
    time.sleep(2.0)  # what connecting has cost is not what following costs
    if count:
        ours.send("measure")
    client = Client(api.port, api.key)
    times: dict[str, list[float]] = {"get": [], "list": [], "me": []}
    paths = {"get": f"/v1/jobs/{lease.job_id}", "list": "/v1/jobs", "me": "/v1/me"}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, path in paths.items():
            status, _, milliseconds = client.ask("GET", path)
            assert status == 200
            times[name].append(milliseconds)
        time.sleep(0.005)
    over.set()
    writer.join()
    leases.end(lease, "succeeded")
    lags, gaps, ended = [], 0, 0
    if count:
        lags, gaps, ended = ours.recv()
        follower.join()
    return {
        "streams": count,
        "lag_ms": spread(lags),
        "entries": len(lags),
        "gaps": gaps,
        "ended": ended,
        **{name: spread(found) for name, found in times.items()},
        "memory": api.memory(),
    }


def _report(settings: Settings, lease: leases.Lease, over: threading.Event) -> None:
    """Report as a worker does."""
    notifier, number = Notifier(settings), 0
    while not over.wait(FLUSH_SECONDS):
        number += 1
        entries = [("progress", {"step": number, "total": 100_000, "loss": [0.1, 0.2]})] if number % ENTRY_EVERY else []
        leases.report(lease, leases.Report(entries=entries, step=number))  # type: ignore[arg-type]
        notifier.publish(lease.job_id)
    notifier.close()


class _Stream(asyncio.Protocol):
    """One stream, read as it comes."""

    def __init__(self, request: bytes, count: _Counting) -> None:
        self._request, self._count = request, count
        self._rest, self._seq = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"id: "):
                seq = int(line[4:])
                self._count.gaps += seq != self._seq + 1
                if self._seq == 0:
                    self._count.connected += 1
                self._seq = seq
            elif line.startswith(b"data: ") and self._count.measuring:
                moment = datetime.fromisoformat(json.loads(line[6:])["time"])
                self._count.lags.append(1000 * (time.time() - moment.timestamp()))

    def connection_lost(self, _error: Exception | None) -> None:
        self._count.ended += 1


@dataclass
class _Counting:
    lags: list[float]
    connected: int = 0
    ended: int = 0
    gaps: int = 0
    measuring: bool = False


def _follow(port: int, key: str, job_id: str, count: int, pipe: Connection) -> None:
    """Follow a job with `count` streams until all have ended, in a process of its own."""
    request = (
        f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    ).encode()

    async def run() -> None:
        counting = _Counting([])
        loop = asyncio.get_running_loop()
        for number in range(count):
            await loop.create_connection(lambda: _Stream(request, counting), "127.0.0.1", port)
            await _until(lambda number=number: number - counting.connected < 50)  # no faster than they are answered
        await _until(lambda: counting.connected == count)
        pipe.send("connected")
        await _until(pipe.poll)
        counting.measuring = True
        await _until(lambda: counting.ended == count)
        pipe.send((counting.lags, counting.gaps, counting.ended))

    asyncio.run(run())


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what it waits for comes from other processes
        await asyncio.sleep(0.005)


# --- predictions and jobs -----------------------------------------------------------------------------------------


def predictions(api: Api, seconds: float) -> dict[str, Any]:
    """Return what 30 clients with bodies of 1.3 MB see, and a small request beside them."""
    client = Client(api.port, api.key)
    client.ask("POST", "/v1/jobs", json.dumps(JOB).encode())
    lease = leases.claim(api.db, "bench", "cpu", 600.0)
    assert lease is not None
    checkpoint(lease, 100, (0.5, 0.2))
    leases.end(lease, "succeeded")
    found = json.loads(client.ask("GET", f"/v1/jobs/{lease.job_id}")[1])["summary"]["last_checkpoint"]
    sequence = [[0.123456789]] * 2000
    body = json.dumps({"inputs": [sequence] * (1_300_000 // len(json.dumps(sequence)))}).encode()
    before = api.memory()

    def predict(mine: Client) -> tuple[int, bytes, float]:
        return mine.ask("POST", f"/v1/checkpoints/{found}/predict", body)

    beside: list[float] = []
    times, statuses, took = crowd(
        api, PREDICT_CLIENTS, seconds, {"predict": predict}, lambda: beside.append(_me(client))
    )
    return {
        "statuses": statuses,
        "predict": spread(times["predict"]),
        "a_second": len(times["predict"]) / took,
        "me": spread(beside),
        "memory_before": before,
        "memory": api.memory(),
    }


def job_requests(api: Api, seconds: float) -> dict[str, Any]:
    """Return what 8 clients see that submit, get and list without a pause."""
    content = json.dumps(JOB).encode()

    def submit(mine: Client) -> tuple[int, bytes, float]:
        return mine.ask("POST", "/v1/jobs", content)

    def get(mine: Client) -> tuple[int, bytes, float]:
        job_id = json.loads(mine.ask("GET", "/v1/jobs?limit=1")[1])["data"][0]["id"]
        return mine.ask("GET", f"/v1/jobs/{job_id}")

    def listed(mine: Client) -> tuple[int, bytes, float]:
        return mine.ask("GET", "/v1/jobs")

    times, statuses, took = crowd(api, JOB_CLIENTS, seconds, {"submit": submit, "get": get, "list": listed})
    return {
        "statuses": statuses,
        "a_second": sum(map(len, times.values())) / took,
        **{name: spread(found) for name, found in times.items()},
        "memory": api.memory(),
    }


def _me(client: Client) -> float:
    return client.ask("GET", "/v1/me")[2]


Asking = Callable[[Client], tuple[int, bytes, float]]


def crowd(
    api: Api, clients: int, seconds: float, asks: dict[str, Asking], beside: Callable[[], object] = lambda: None
) -> tuple[dict[str, list[float]], dict[str, int], float]:
    """Let threads ask in turn until the time is over.

    Returns the milliseconds of what succeeded, how often each status came, and the seconds until the last answer.
    """
    times: dict[str, list[float]] = {name: [] for name in asks}
    statuses: Counter[str] = Counter()
    begin = time.monotonic()

    def one() -> None:
        mine = Client(api.port, api.key)
        while time.monotonic() < begin + seconds:
            for name, ask in asks.items():
                try:
                    status, _, milliseconds = ask(mine)
                except (OSError, http.client.HTTPException):
                    statuses["connection broken"] += 1
                    mine = Client(api.port, api.key)
                    continue
                statuses[str(status)] += 1
                if status < 400:
                    times[name].append(milliseconds)
                elif status == 503:
                    time.sleep(1.0)  # politer than some, as Retry-After says

    threads = [threading.Thread(target=one) for _ in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        beside()
        time.sleep(0.05)
    return times, dict(statuses), time.monotonic() - begin


# --- the API and the tables ---------------------------------------------------------------------------------------


def spread(values: list[float]) -> tuple[float, float] | None:
    """Return the median and the 99th percentile."""
    if len(values) < 2:
        return None
    return statistics.median(values), statistics.quantiles(values, n=100, method="inclusive")[98]


@contextmanager
def serving(name: str) -> Iterator[Api]:
    """Run one API process on a new database."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {}
        if name == "postgresql":
            database, broker = postgresql.postgresql(), redis.redis_server()
            stack.callback(database.stop)
            stack.callback(broker.stop)
            urls = {"database_url": database.create_database(), "broker_url": broker.create_database()}
        settings = Settings(data_dir=folder, secret="bench", log_level="warning", **urls)  # type: ignore[arg-type]  # noqa: S106
        env = environment(settings)
        schema.migrate(settings)
        db = Database(settings, pool_size=4)
        stack.callback(db.close)
        wanted = NewKey(name="bench", scopes=["read", "write", "predict"])
        key = keys.create(db, settings.hash_secret, "bench", wanted).secret
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
        descriptor = listener.fileno()
        command = [sys.executable, "-P", "-m", "api.cli", "api", "--listener", str(descriptor)]
        process = subprocess.Popen(command, env=env, pass_fds=[descriptor])
        stack.callback(lambda: (process.terminate(), process.wait(30)))
        port = listener.getsockname()[1]
        api = Api(settings, db, port, process.pid, key)
        assert Client(port, key).ask("GET", "/readyz")[0] == 200
        yield api


def _milliseconds(found: tuple[float, float] | None) -> str:
    return "-" if found is None else f"{found[0]:.0f} / {found[1]:.0f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _streams_table(figures: dict[str, Any]) -> str:
    head = ["database", "streams", "lag, p50 / p99 ms", "gaps", "get", "list", "me", "API's memory"]
    rows = [
        [
            database,
            f"{row['streams']:,}",
            _milliseconds(row["lag_ms"]),
            str(row["gaps"]) if row["streams"] else "-",
            *(_milliseconds(row[name]) for name in ("get", "list", "me")),
            f"{row['memory'] / 1e6:.0f} MB",
        ]
        for database, found in figures.items()
        for row in found
    ]
    return _table(head, rows)


def _predictions_table(figures: dict[str, Any]) -> str:
    head = ["database", "predict, p50 / p99 ms", "a second", "me beside it", "statuses", "API's memory before, most"]
    rows = [
        [
            database,
            _milliseconds(found["predict"]),
            f"{found['a_second']:.1f}",
            _milliseconds(found["me"]),
            ", ".join(f"{count} x {status}" for status, count in sorted(found["statuses"].items())),
            f"{found['memory_before'] / 1e6:.0f}, {found['memory'] / 1e6:.0f} MB",
        ]
        for database, found in figures.items()
    ]
    return _table(head, rows)


def _jobs_table(figures: dict[str, Any]) -> str:
    head = ["database", "submit, p50 / p99 ms", "get", "list", "requests a second", "statuses"]
    rows = [
        [
            database,
            *(_milliseconds(found[name]) for name in ("submit", "get", "list")),
            f"{found['a_second']:.0f}",
            ", ".join(f"{count} x {status}" for status, count in sorted(found["statuses"].items())),
        ]
        for database, found in figures.items()
    ]
    return _table(head, rows)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "streams": _streams_table,
    "predict": _predictions_table,
    "jobs": _jobs_table,
}

if __name__ == "__main__":
    os.environ.pop("UNROLL_FAILPOINT", None)
    main()
