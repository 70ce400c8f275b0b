"""Rows of docs/reliability.md in which broker, database and API go away, and streams are cut."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from store import keys, leases, schema
from store.errors import DatabaseUnavailable
from store.settings import Settings
from store.tables import jobs as job_rows
from tests.chaos.rows.conftest import Row
from tests.chaos.rows.test_workers import p99
from tests.integration.api.serving import JOB, claim, progress, serving
from tests.servers.deployment import Deployment
from tests.servers.postgresql import OwnPostgreSQL
from tests.servers.processes import free_port, start
from tests.servers.redis import OwnRedis
from tests.servers.worker import TENANT, fleet_on, job
from unroll.contract import Event, NewKey

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]

RowOf = Callable[[str, Deployment], Row]


@pytest.fixture(params=["embedded", "production"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Deployment, OwnPostgreSQL, OwnRedis]]:
    """A deployment on servers that nobody else uses; the embedded one needs none of them."""
    with contextlib.ExitStack() as stack:
        settings = Settings(data_dir=tmp_path / "data", secret="a secret", port=0)  # type: ignore[arg-type]
        database = broker = None
        if request.param == "production":
            database, broker = OwnPostgreSQL(), OwnRedis()
            stack.callback(database.stop)
            stack.callback(broker.stop)
            urls = {"database_url": database.create_database(), "broker_url": broker.create_database()}
            settings = settings.model_copy(update=urls)
        schema.migrate(settings)
        yield Deployment(request.param, settings), database, broker  # type: ignore[misc]


def test_broker(row_of: RowOf, own: tuple[Deployment, OwnPostgreSQL, OwnRedis], tmp_path: Path) -> None:
    deployment, _, broker = own
    row = row_of("broker", deployment)
    count, times = row.times(300), []
    faults = ["flushed", "killed", "frozen"] if broker else ["removed"]
    tiny = JOB | {"training": {"steps": 2}}
    with (
        fleet_on(deployment, tmp_path, lease_seconds=10.0) as fleet,
        serving(fleet.settings) as api,
        api.client(tenant=TENANT) as client,
    ):
        fleet.start()
        accepted = []

        def submit() -> None:
            begin = time.monotonic()
            answer = client.post("/v1/jobs", json=tiny)
            times.append(time.monotonic() - begin)
            assert answer.status_code == 202
            accepted.append(answer.json()["id"])

        for fault in faults:
            if fault == "removed":
                shutil.rmtree(deployment.settings.data_dir / "queue", ignore_errors=True)
            elif fault == "killed":
                broker.kill()
            elif fault == "frozen":
                broker.freeze()
            for number in range(max(1, count // len(faults))):
                if fault == "flushed" and number % 5 == 0:
                    with broker._connect(0) as connection:
                        connection.flushall()
                submit()
            if fault == "killed":
                broker.start()
            elif fault == "frozen":
                broker.thaw()
        for job_id in accepted:
            assert fleet.until(job_id, lambda now: now.ended_at is not None, 300).status == "succeeded"
    row.found(f"{len(accepted)} accepted = {len(accepted)} ended; p99 of submit {1000 * p99(times):.0f} ms")


def test_database(
    row_of: RowOf, own: tuple[Deployment, OwnPostgreSQL, OwnRedis], tmp_path: Path, chance: random.Random
) -> None:
    deployment, database, _ = own
    row = row_of("database", deployment)
    if not database:
        row.found("- (a file: there is no server to restart)")
        return
    count, steps = row.times(6), 9000
    with fleet_on(deployment, tmp_path, lease_seconds=10.0) as fleet:
        fleet.start()
        acknowledged, restarts = [], 0
        while restarts < count:
            job_id = fleet.submit(job(steps))
            for step in sorted(chance.randrange(200, steps - 1000) for _ in range(2)):
                fleet.until_step(job_id, step)
                over = threading.Event()

                def submit(over: threading.Event = over) -> None:
                    while not over.is_set():
                        with contextlib.suppress(DatabaseUnavailable):
                            acknowledged.append(fleet.submit(job(20)))
                        time.sleep(0.05)

                submitting = threading.Thread(target=submit)
                submitting.start()
                time.sleep(chance.uniform(0.0, 0.3))
                database.interrupt()
                time.sleep(0.3)
                database.start()
                over.set()
                submitting.join()
                restarts += 1
            fleet.assert_ended_as_if_nothing_had_happened(job_id, steps)
        for job_id in acknowledged:
            assert fleet.until_ended(job_id).status == "succeeded"
    row.found(
        f"{restarts} immediate shutdowns: the running jobs ended with equal SHA-256; of {len(acknowledged)} jobs "
        "acknowledged meanwhile missing 0"
    )


@contextmanager
def api_process(deployment: Deployment, listener: socket.socket, log: Path) -> Iterator[Callable[[], None]]:
    """An API process on a socket that outlives it, as under `up`; what is yielded kills it and starts another."""
    command = [sys.executable, "-P", "-m", "api.cli", "api", "--listener", str(listener.fileno())]
    command += ["--parent", str(os.getpid())]  # it ends with the tests, however these end
    processes: list[subprocess.Popen[bytes]] = []

    def again() -> None:
        for process in processes:
            process.kill()
            process.wait(30)
        processes[:] = [
            subprocess.Popen(command, env=deployment.env, pass_fds=[listener.fileno()], stdout=output, stderr=output)
        ]

    with log.open("ab") as output:
        again()
        try:
            yield again
        finally:
            for process in processes:
                process.kill()
                process.wait(30)


def test_api(row_of: RowOf, deployment: Deployment, tmp_path: Path, chance: random.Random) -> None:
    row = row_of("api", deployment)
    count, clients = row.times(400), 4
    with fleet_on(deployment, tmp_path) as fleet:
        new = NewKey(name="chaos", scopes=["read", "write"])
        secret = keys.create(fleet.db, deployment.settings.hash_secret, TENANT, new).secret
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        names = [uuid.uuid4().hex for _ in range(count)]
        waiting, answers, retries = names.copy(), dict.fromkeys(names, ""), Counter[str]()

        def submit() -> None:
            while True:
                try:
                    name = waiting.pop()
                except IndexError:
                    return
                while not answers[name]:
                    headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": name}
                    try:
                        answer = httpx2.post(
                            f"{url}/v1/jobs", json=JOB, headers=headers, timeout=60, trust_env=False, verify=False
                        )
                    except httpx2.HTTPError:
                        retries[name] += 1
                        continue
                    assert answer.status_code == 202, answer.text
                    answers[name] = answer.json()["id"]

        with listener, api_process(deployment, listener, tmp_path / "api.log") as kill_and_start:
            threads = [threading.Thread(target=submit) for _ in range(clients)]
            for thread in threads:
                thread.start()
            kills = 0
            while any(thread.is_alive() for thread in threads):
                before = len(waiting)
                while len(waiting) > before - max(1, count // 20) and any(thread.is_alive() for thread in threads):
                    time.sleep(0.005)  # it works again
                time.sleep(chance.uniform(0.0, 0.1))
                if waiting:
                    kill_and_start()
                    kills += 1
        with fleet.db.read() as tx:
            stored = tx.execute(select(func.count()).select_from(job_rows)).scalar_one()
        assert stored == len(set(answers.values())) == count
    row.found(f"{count} submits, {kills} kills, {sum(retries.values())} retries: jobs {stored}, doubled 0")


def test_stream(row_of: RowOf, deployment: Deployment, chance: random.Random) -> None:
    row = row_of("stream", deployment)
    wanted, cuts, read = row.times(300), 0, 0
    with serving(deployment.settings) as api, api.client() as client:
        while cuts < wanted:
            job_id = client.post("/v1/jobs", json=JOB).json()["id"]
            lease = claim(api)
            seen: list[int] = []
            over = False

            def write(lease: leases.Lease = lease) -> None:
                for _ in range(60):
                    progress(lease, chance.randrange(1, 20))
                    time.sleep(0.01)
                leases.end(lease, "succeeded")

            writer = threading.Thread(target=write)
            writer.start()
            while not over:
                headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(seen[-1])} if seen else {})
                received, cut = b"", chance.randrange(1, 8000)
                with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
                    for chunk in response.iter_raw():
                        received += chunk
                        if len(received) >= cut:
                            received, cuts = received[:cut], cuts + 1
                            break
                for message in received.decode().split("\n\n")[:-1]:
                    data = next((line[6:] for line in message.split("\n") if line.startswith("data: ")), None)
                    if data is not None:
                        event = Event.model_validate_json(data)
                        seen.append(event.seq)
                        over = event.type == "end"
            writer.join()
            assert seen == list(range(1, len(seen) + 1))
            read += len(seen)
    row.found(f"{cuts} cuts in {read} events: gaps 0, doubled 0 (memory: tests/integration/api/test_feeds.py)")


PGBOUNCER = """
[databases]
* = host=127.0.0.1 port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
auth_type = plain
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 10
max_client_conn = 500
unix_socket_dir =
user = {user}
logfile = {folder}/pgbouncer.log
"""


def test_pooler(row_of: RowOf, own: tuple[Deployment, OwnPostgreSQL, OwnRedis], tmp_path: Path) -> None:
    deployment, database, _ = own
    row = row_of("pooler", deployment)
    if not database:
        row.found("- (no PostgreSQL)")
        return
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer on this machine (Debian and Ubuntu: apt-get install pgbouncer)")
    own_port, user = free_port(), database.user or "nobody"
    folder = database.folder
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(PGBOUNCER.format(port=database.port, own=own_port, folder=folder, user=user))
    (folder / "users.txt").write_text(f'"unroll" "{database.password}"\n')
    for file in (configuration, folder / "users.txt"):
        file.chmod(0o644)
    pooler = start([program, configuration], folder / "pgbouncer.out", user=database.user)
    try:
        url = deployment.settings.database_url.replace(f":{database.port}/", f":{own_port}/")
        pooled = deployment.with_(database_url=url)
        requests = row.times(600)
        with (
            fleet_on(pooled, tmp_path, lease_seconds=4.0) as fleet,
            serving(fleet.settings) as api,
            api.client(tenant=TENANT) as client,
        ):
            worker = fleet.start()
            job_id = fleet.submit(job(6000))
            paths = ["/v1/me", f"/v1/jobs/{job_id}", "/v1/jobs", "/v1/workers", f"/v1/jobs/{job_id}/events"]
            statuses: Counter[int] = Counter()

            def ask(number: int) -> None:
                for i in range(number, requests, 6):
                    statuses[client.get(paths[i % len(paths)]).status_code] += 1

            threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert statuses == {200: requests}
            fleet.assert_ended_as_if_nothing_had_happened(job_id, 6000)
            assert fleet.get(job_id).attempt == 1
            assert worker.process.poll() is None
    finally:
        pooler.send_signal(signal.SIGTERM)
        pooler.wait(30)
    row.found(f"PgBouncer, {requests} requests and a job: all answered with 200, one attempt, SHA-256 equal")
