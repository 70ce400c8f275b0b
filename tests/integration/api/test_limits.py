"""What keys and tenants may use, told before it is reached and named when it is."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from store import jobs, keys, leases, quotas
from store.errors import QuotaExceeded
from tests.integration.api.serving import JOB, Api, checkpoint, claim, pointers, problem, serving
from unroll.contract import ChangeKey, Limits

Shared = tuple[Api, httpx2.Client]
LONG: dict[str, Any] = JOB | {"training": {"steps": 100_000_000, "batch_size": 512}, "replicas": 64}
"""Years, by any estimate."""


def refused(response: httpx2.Response, limit: str) -> dict[str, Any]:
    """The problem of a request beyond a limit, which it names."""
    found = problem(response, 429, "quota_exceeded")
    assert found["limit"] == limit
    assert int(response.headers["retry-after"]) > 0
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_queued_jobs_of_a_key_and_of_a_tenant_are_limited_and_told(api: Api):
    quotas.change_tenant(api.db, "ours", 3, Limits(queued_jobs=3))
    with api.client(limits=Limits(queued_jobs=2)) as one, api.client() as other, api.client(tenant="theirs") as third:
        first, _ = [one.post("/v1/jobs", json=JOB).json()["id"] for _ in range(2)]
        assert "This key may have 2 queued jobs" in refused(one.post("/v1/jobs", json=JOB), "queued_jobs")["detail"]
        assert other.post("/v1/jobs", json=JOB).status_code == 202
        assert "This tenant" in refused(other.post("/v1/jobs", json=JOB), "queued_jobs")["detail"]
        assert third.post("/v1/jobs", json=JOB).status_code == 202
        me = one.get("/v1/me").json()
        assert me["key_limits"]["queued_jobs"] == {"limit": 2, "used": 2}
        assert me["tenant_limits"]["queued_jobs"] == {"limit": 3, "used": 3}
        assert me["weight"] == 3
        assert one.post(f"/v1/jobs/{first}/pause").status_code == 200
        assert one.post("/v1/jobs", json=JOB).status_code == 202
        refused(one.post(f"/v1/jobs/{first}/resume"), "queued_jobs")
        assert one.get(f"/v1/jobs/{first}").json()["status"] == "paused"


def test_a_key_without_a_limit_has_that_of_the_server(shared: Shared):
    api, client = shared
    assert client.get("/v1/me").json()["key_limits"]["queued_jobs"]["limit"] == 1000
    with serving(api.settings.model_copy(update={"queued_jobs": 1})) as strict, strict.client() as client:
        assert client.post("/v1/jobs", json=JOB).status_code == 202
        refused(client.post("/v1/jobs", json=JOB), "queued_jobs")


def test_requests_in_a_minute_are_counted_without_the_database(shared: Shared):
    api, _ = shared
    quotas.change_tenant(api.db, "theirs", None, Limits(requests_per_minute=2))
    with api.client(limits=Limits(requests_per_minute=3)) as limited, api.client() as free:
        for _ in range(3):
            assert limited.get("/v1/me").status_code == 200
        answer = limited.get("/v1/jobs")
        refused(answer, "requests_per_minute")
        assert int(answer.headers["retry-after"]) <= 20
        assert free.get("/v1/me").json()["key_limits"]["requests_per_minute"]["limit"] is None
    with api.client(tenant="theirs") as one, api.client(tenant="theirs") as two:
        assert one.get("/v1/me").json()["tenant_limits"]["requests_per_minute"] == {"limit": 2, "used": 1}
        assert two.get("/v1/me").status_code == 200
        refused(one.get("/v1/me"), "requests_per_minute")


def test_open_streams_are_limited_until_they_are_closed(shared: Shared):
    api, client = shared
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    path, live = f"/v1/jobs/{job}/events", {"Accept": "text/event-stream"}

    def open_streams(key: httpx2.Client) -> float:
        found: float = key.get("/v1/me").json()["key_limits"]["streams"]["used"]
        return found

    with api.client(limits=Limits(streams=1)) as limited:
        with limited.stream("GET", path, headers=live) as stream:
            assert stream.status_code == 200
            received = stream.iter_bytes()  # kept, because the connection is closed with it
            next(received)
            assert open_streams(limited) == 1
            refused(limited.get(path, headers=live), "streams")
            assert limited.get(path).status_code == 200  # a page is no stream
        until(lambda: open_streams(limited) == 0)
        with limited.stream("GET", path, headers=live) as stream:
            assert stream.status_code == 200


def test_bodies_that_arrive_are_limited_until_they_have(shared: Shared):
    api, _ = shared
    secret = api.key(limits=Limits(held_bodies=1))
    address = urlsplit(api.url)
    head = (
        f"POST /v1/jobs?dry_run=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
        "Content-Type: application/json\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{"
    )
    headers = {"Authorization": f"Bearer {secret}"}
    with (
        httpx2.Client(base_url=api.url, headers=headers, timeout=60, trust_env=False, verify=False) as other,
        socket.create_connection((address.hostname, address.port)) as slow,
    ):
        slow.sendall(head.encode())
        until(lambda: other.get("/v1/me").json()["key_limits"]["held_bodies"]["used"] == 1)
        refused(other.post("/v1/jobs", json=JOB), "held_bodies")
        slow.sendall(b'"a": 1}\n')
        assert b" 422 " in slow.makefile("rb").readline()
        assert other.post("/v1/jobs", json=JOB).status_code == 202
        assert other.get("/v1/me").json()["key_limits"]["held_bodies"]["used"] == 0


def test_a_job_of_more_than_a_day_needs_a_limit_or_a_confirmation(shared: Shared):
    _, client = shared
    answer = client.post("/v1/jobs", json=LONG)
    assert pointers(answer) == ["/max_seconds"]
    assert "confirm_long" in answer.json()["detail"]
    assert client.post("/v1/jobs", json=LONG, params={"dry_run": True}).json()["seconds"] > 86_400
    assert client.post("/v1/jobs", json=LONG | {"max_seconds": 3600}).status_code == 202
    assert client.post("/v1/jobs", json=LONG, params={"confirm_long": True}).status_code == 202


def test_the_seconds_of_a_job_are_limited_by_what_it_may_take(shared: Shared):
    api, _ = shared
    with api.client(limits=Limits(job_seconds=60)) as limited:
        assert limited.post("/v1/jobs", json=JOB).status_code == 202
        for job in (LONG | {"max_seconds": 61}, LONG):
            found = refused(limited.post("/v1/jobs", json=job, params={"confirm_long": True}), "job_seconds")
            assert found["errors"][0]["pointer"] == "/max_seconds"
        assert limited.post("/v1/jobs", json=LONG | {"max_seconds": 60}).status_code == 202


def test_what_a_key_has_stored_is_limited_and_freed_by_deleting(api: Api):
    with api.client(limits=Limits(stored_bytes=1_500)) as limited:
        job = limited.post("/v1/jobs", json=JOB | {"replicas": 1}).json()["id"]
        lease = claim(api)

        def store_on() -> None:
            for step in range(1, 50):
                checkpoint(lease, step)

        with pytest.raises(QuotaExceeded):
            store_on()
        now = jobs.get(api.db, "ours", job)
        kept = limited.get(f"/v1/jobs/{job}/checkpoints").json()["data"]
        assert [one["step"] for one in kept] == list(range(now.progress.step, 0, -1))  # nothing of the last report
        leases.end(lease, "succeeded")
        used = limited.get("/v1/me").json()["key_limits"]["stored_bytes"]["used"]
        assert 0 < used <= 1_500
        key = limited.get("/v1/me").json()["key"]["id"]
        keys.change(api.db, "ours", key, ChangeKey(limits=Limits(stored_bytes=int(used))))
        refused(limited.post("/v1/jobs", json=JOB), "stored_bytes")
        assert limited.delete(f"/v1/jobs/{job}").status_code == 204
        assert limited.get("/v1/me").json()["key_limits"]["stored_bytes"]["used"] == 0
        assert limited.post("/v1/jobs", json=JOB).status_code == 202


def test_a_key_that_has_limits_cannot_lift_them_nor_make_a_key_that_has_none(shared: Shared):
    api, client = shared
    limited = client.post("/v1/keys", json={"name": "k", "scopes": ["read", "admin"], "limits": {"queued_jobs": 5}})
    own, headers = limited.json()["id"], {"Authorization": f"Bearer {limited.json()['secret']}"}
    other = client.post("/v1/keys", json={"name": "other"}).json()["id"]
    with httpx2.Client(base_url=api.url, headers=headers, timeout=60, trust_env=False, verify=False) as admin:
        problem(admin.post("/v1/keys", json={"name": "free", "scopes": ["read"]}), 403, "missing_scope")
        for key in (own, other):
            for change in ({"limits": {"queued_jobs": None}}, {"limits": {"streams": 1}}, {"max_active_jobs": None}):
                problem(admin.patch(f"/v1/keys/{key}", json=change), 403, "missing_scope")
        assert admin.patch(f"/v1/keys/{own}", json={"name": "renamed"}).status_code == 200
    changed = client.patch(f"/v1/keys/{own}", json={"limits": {"queued_jobs": None, "streams": 2}}).json()
    assert {name: value for name, value in changed["limits"].items() if value is not None} == {"streams": 2}


def test_no_key_lifts_the_limits_of_its_tenant(shared: Shared):
    api, _ = shared
    quotas.change_tenant(api.db, "small", None, Limits(queued_jobs=1))
    with api.client(tenant="small") as admin:
        assert admin.post("/v1/jobs", json=JOB).status_code == 202
        made = admin.post("/v1/keys", json={"name": "more", "limits": {"queued_jobs": 1000}}).json()
        headers = {"Authorization": f"Bearer {made['secret']}"}
        refused(admin.post("/v1/jobs", json=JOB, headers=headers), "queued_jobs")


@pytest.mark.parametrize(
    ("limits", "pointer"),
    [
        ({"queued_jobs": 0}, "/limits/queued_jobs"),
        ({"job_seconds": -1}, "/limits/job_seconds"),
        ({"weight": 2}, "/limits/weight"),
        ({"streams": "many"}, "/limits/streams"),
    ],
)
def test_a_wrong_limit_is_named(shared: Shared, limits: dict[str, Any], pointer: str):
    _, client = shared
    assert pointers(client.post("/v1/keys", json={"name": "k", "limits": limits})) == [pointer]
