from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text

from store import fleet, keys, leases, schema
from store.db import Database
from store.errors import SchemaMismatch
from store.settings import Settings
from tests.integration.api.serving import JOB, Api, claim, fetch, problem, serving
from tests.servers.deployment import Deployment, environment
from tests.servers.processes import free_port, start
from unroll.contract import NewKey

SERVER = """
import sys, uvicorn
from api.app import create_app
from store.settings import Settings
uvicorn.run(create_app(Settings()), port=int(sys.argv[1]))
"""


def test_health_the_document_and_the_docs_need_no_key(api: Api):
    for path in ("/", "/livez", "/readyz", "/openapi.json", "/docs"):
        assert fetch("GET", api.url + path).status_code == 200, path
    assert fetch("GET", f"{api.url}/readyz").json() == {"status": "ready", "database": "ok", "broker": "ok"}
    problem(fetch("GET", f"{api.url}/metrics"), 401, "unauthorized")


def test_without_a_broker_jobs_are_accepted_and_the_server_says_that_it_is_degraded(deployment: Deployment):
    away = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with serving(deployment.with_(broker_url=away).settings) as api, api.client() as client:
        begin = time.monotonic()
        submitted = client.post("/v1/jobs", json=JOB)
        assert submitted.status_code == 202
        assert time.monotonic() - begin < 2
        assert client.get(f"/v1/jobs/{submitted.json()['id']}").json()["status"] == "queued"
        response = fetch("GET", f"{api.url}/readyz")
        assert (response.status_code, response.json()["status"], response.json()["broker"]) == (
            200,
            "degraded",
            "unreachable",
        )


def test_a_schema_that_is_not_this_versions_makes_a_server_unready(api: Api):
    with api.db.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    problem(fetch("GET", f"{api.url}/readyz"), 503, "database_unavailable")
    assert fetch("GET", f"{api.url}/livez").status_code == 200


def test_a_server_does_not_start_on_a_newer_database(db: Database, settings: Settings):
    with db.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match="newer version"):
        schema.check(db)
    found = subprocess.run(
        [sys.executable, "-c", SERVER, "0"],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode != 0
    assert "newer version" in found.stderr


def test_a_database_that_is_gone_is_a_503_that_says_nothing_about_it(tmp_path: Path, request: pytest.FixtureRequest):
    server = request.getfixturevalue("postgresql")
    template = request.getfixturevalue("_migrated_database")
    url = server.create_database(template)
    settings = Settings(data_dir=tmp_path, database_url=url, secret="s")  # type: ignore[arg-type]
    with serving(settings) as api, api.client() as client:
        assert client.get("/v1/me").status_code == 200
        api.db.close()
        name = url.rsplit("/", 1)[1].split("?")[0]
        server.drop_database(url)
        response = client.get("/v1/me")
        assert problem(response, 503, "database_unavailable")["retryable"]
        assert int(response.headers["retry-after"]) > 0
        assert name not in response.text
        problem(fetch("GET", f"{api.url}/readyz"), 503, "database_unavailable")
        assert fetch("GET", f"{api.url}/livez").status_code == 200


def test_prometheus_sees_requests_by_route_and_jobs_by_status(api: Api, client: httpx2.Client):
    first = client.post("/v1/jobs", json=JOB).json()["id"]
    leases.end(claim(api), "succeeded")
    for _ in range(2):
        client.post("/v1/jobs", json=JOB)
    claim(api)
    fleet.enlist(api.db, "worker-1", "box", 1, "cpu", "0.1.0")
    client.get(f"/v1/jobs/{first}")
    client.get("/v1/jobs/job_none")
    client.request("PROPFIND", "/nothing")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    for line in (
        'unroll_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="200"} 1.0',
        'unroll_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"} 1.0',
        'unroll_http_requests_total{method="POST",route="/v1/jobs",status="202"} 3.0',
        'unroll_http_requests_total{method="other",route="unmatched",status="404"} 1.0',
        'unroll_http_response_seconds_count{method="POST",route="/v1/jobs"} 3.0',
        'unroll_jobs{status="queued"} 1.0',
        'unroll_jobs{status="running"} 1.0',
        'unroll_jobs{status="paused"} 0.0',
        'unroll_jobs_ended_last_hour{status="failed"} 0.0',
        'unroll_jobs_ended_last_hour{status="succeeded"} 1.0',
        'unroll_queue_depth{device="auto"} 1.0',
        'unroll_workers_alive{device="cpu"} 1.0',
        "unroll_database_up 1.0",
    ):
        assert line in lines
    assert first not in response.text


def test_workers_and_queues_show_everybody_the_load_and_nobody_anothers_job(
    api: Api, client: httpx2.Client, stranger: httpx2.Client
):
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    fleet.enlist(api.db, "worker-1", "box", 1, "cpu", "0.1.0")
    claim(api)
    fleet.seen(api.db, "worker-1", job)
    (ours,), (theirs,) = (one.get("/v1/workers").json()["data"] for one in (client, stranger))
    assert (ours["job"], ours["busy"], ours["alive"]) == (job, True, True)
    assert (theirs["job"], theirs["busy"]) == (None, True)
    queues = {one["device"]: one for one in stranger.get("/v1/queues").json()["data"]}
    assert queues["auto"] == {"device": "auto", "queued": 0, "running": 1, "workers": 1}
    assert queues["cuda"]["workers"] == 0


def test_every_answer_carries_the_headers_that_protect_a_browser(client: httpx2.Client):
    for path in ("/livez", "/v1/me", "/v1/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


def test_a_stop_ends_streams_and_waits_in_order(deployment: Deployment, tmp_path: Path):
    settings = deployment.settings
    port = free_port()
    log = tmp_path / "log"
    process = start([sys.executable, "-c", SERVER, str(port)], log, env=deployment.env)
    db = Database(settings)
    secret = keys.create(db, settings.hash_secret, "ours", NewKey(name="k")).secret
    db.close()
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {secret}"}, timeout=30
    ) as client:
        deadline = time.monotonic() + 30
        while True:
            try:
                client.get("/livez")
                break
            except httpx2.ConnectError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        job = client.post("/v1/jobs", json=JOB).json()["id"]
        with client.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as response:
            lines = response.iter_lines()
            assert next(line for line in lines if line.startswith("id")) == "id: 1"
            begin = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)
            assert all(not line.startswith("id") for line in lines)
            # the stream was ended by the server, not cut: reading on raised nothing
        process.wait(20)
    assert time.monotonic() - begin < 10
    assert "Traceback" not in log.read_text()
