"""Jobs that read checkpoints: checked against what they read, before they are stored."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.integration.api.serving import JOB, Api, pointers, problem, trained


@pytest.fixture
def checkpoint(api: Api, client: httpx2.Client) -> str:
    """A checkpoint of two replicas, trained on sequences of 5 steps."""
    found: str = trained(api, client)["summary"]["last_checkpoint"]
    return found


def test_an_evaluate_job_is_queued_beside_the_job_whose_checkpoint_it_reads(client: httpx2.Client, checkpoint: str):
    submitted = client.post("/v1/jobs", json={"kind": "evaluate", "checkpoint": checkpoint, "lengths": [5, 10]})
    assert submitted.status_code == 202
    job = submitted.json()
    made_by = client.get(f"/v1/checkpoints/{checkpoint}").json()["job"]
    assert (job["kind"], job["status"], job["parent"]) == ("evaluate", "queued", made_by)
    assert job["progress"] == {"step": 0, "total": 3 * 512, "steps_per_second": None, "eta_seconds": None}
    assert (job["summary"]["kind"], job["summary"]["baseline_loss"]) == ("evaluate", 3.0)
    assert job["summary"]["loss"] is None
    assert [one["id"] for one in client.get("/v1/jobs", params={"kind": "evaluate"}).json()["data"]] == [job["id"]]
    assert [one["id"] for one in client.get("/v1/jobs", params={"parent": made_by}).json()["data"]] == [job["id"]]
    assert client.get("/v1/jobs", params={"parent": job["id"]}).json()["data"] == []


def test_the_same_evaluation_is_submitted_once_under_one_key(client: httpx2.Client, checkpoint: str):
    body = {"kind": "evaluate", "checkpoint": checkpoint}
    first, second = (client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    other = client.post("/v1/jobs", json={**body, "sequences": 5}, headers={"Idempotency-Key": "k"})
    problem(other, 422, "idempotency_key_reused")


def test_a_dry_run_tells_what_an_evaluation_would_cost(client: httpx2.Client, checkpoint: str):
    def cost(**fields: Any) -> dict[str, Any]:
        body = {"kind": "evaluate", "checkpoint": checkpoint, **fields}
        answer: dict[str, Any] = client.post("/v1/jobs?dry_run=true", json=body).json()
        return answer

    small, long = cost(), cost(lengths=[5, 500])
    assert (small["total"], long["total"], small["baseline_loss"]) == (512, 1536, 3.0)
    assert long["seconds"] > small["seconds"] > 0
    assert long["memory_bytes"] > small["memory_bytes"] > 0
    assert client.get("/v1/jobs", params={"kind": "evaluate"}).json()["data"] == []


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"replica": 2}, "/replica"),
        ({"replica": -1}, "/replica"),
        ({"lengths": []}, "/lengths"),
        ({"lengths": [5, 0]}, "/lengths/1"),
        ({"data": {"name": "xor"}}, "/data"),
        ({"data": {"name": "xor"}, "lengths": [3]}, "/data"),
        ({"data": {"name": "nothing"}}, "/data/name"),
        ({"data": {"name": "integrate_noise", "parameters": {"length": 0}}}, "/data/parameters/length"),
        ({"data": {"name": "integrate_noise", "parameters": {"lenght": 9}}}, "/data/parameters/lenght"),
        ({"loss": {"type": "bce"}}, "/loss/type"),
        ({"loss": {"type": "mse", "time_weights": [1.0]}}, "/loss/time_weights"),
        ({"lengths": [100_000], "sequences": 65_536}, "/lengths/0"),
        ({"sequences": 0}, "/sequences"),
        ({"steps": 5}, "/steps"),
        ({"checkpoint": "ckpt_none"}, "/checkpoint"),
    ],
)
def test_an_evaluation_that_cannot_be_run_is_refused_at_the_field(
    client: httpx2.Client, checkpoint: str, fields: dict[str, Any], pointer: str
):
    refused = client.post("/v1/jobs", json={"kind": "evaluate", "checkpoint": checkpoint, **fields})
    assert pointers(refused) == [pointer]
    assert client.get("/v1/jobs", params={"kind": "evaluate"}).json()["data"] == []


def test_another_tenants_checkpoint_is_not_there(stranger: httpx2.Client, checkpoint: str):
    refused = stranger.post("/v1/jobs", json={"kind": "evaluate", "checkpoint": checkpoint})
    assert pointers(refused) == ["/checkpoint"]


def test_an_unknown_kind_is_refused_with_those_that_there_are(client: httpx2.Client):
    refused = client.post("/v1/jobs", json={**JOB, "kind": "trane"})
    assert pointers(refused) == ["/kind"]
    assert "'train', 'evaluate'" in refused.json()["detail"]
