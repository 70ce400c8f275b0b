"""The API behind a PgBouncer that pools by transaction, with three connections for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest

from store import schema
from store.settings import Settings
from tests.integration.api.serving import JOB, Api, checkpoint, claim, curve, fetch, serving
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSQL

CLIENTS = 16
ROUNDS = 2


@pytest.fixture
def pooled(pgbouncer: PgBouncer, postgresql: PostgreSQL, empty_settings: Settings) -> Iterator[Api]:
    url = pgbouncer.through(postgresql.direct(empty_settings.database_url))
    settings = Settings(data_dir=empty_settings.data_dir, database_url=url, secret="s")  # type: ignore[arg-type]
    schema.migrate(settings)
    with serving(settings) as api:
        yield api


@pytest.mark.parametrize("empty_settings", ["postgresql"], indirect=True)
def test_a_crowd_is_served_and_a_job_goes_from_end_to_end(pooled: Api):
    secret = pooled.key()

    def one(_: int) -> set[int]:
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx2.Client(base_url=pooled.url, headers=headers, timeout=60, trust_env=False, verify=False) as client:
            found = set()
            for _ in range(ROUNDS):
                made = client.post("/v1/jobs", json=JOB)
                found |= {made.status_code}
                job = made.json().get("id")
                for path in ("/v1/me", "/v1/jobs", f"/v1/jobs/{job}", f"/v1/jobs/{job}/events"):
                    found |= {client.get(path).status_code}
                found |= {client.post(f"/v1/jobs/{job}/cancel").status_code}
            return found

    with ThreadPoolExecutor(CLIENTS) as threads:
        assert set().union(*threads.map(one, range(CLIENTS))) == {200, 202}
    with pooled.client() as client:
        job = client.post("/v1/jobs", json=JOB).json()["id"]
        lease = claim(pooled)
        assert lease.job_id == job
        for first in range(1, 100, 10):
            curve(lease, np.linspace(1, 0, 20).reshape(10, 2), first)
            checkpoint(lease, first + 9, (0.5, 0.2))
        assert client.get(f"/v1/jobs/{job}").json()["progress"]["step"] == 100
        assert client.get(f"/v1/jobs/{job}/metrics").status_code == 200
        assert fetch("GET", f"{pooled.url}/readyz").status_code == 200
