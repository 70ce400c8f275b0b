from __future__ import annotations

import threading
import time

import httpx2
import pytest

from store import leases
from tests.integration.api.serving import JOB, Api, checkpoint, claim, pointers, problem, progress, trained
from unroll.contract import DryRun, Job, Page


def test_a_submitted_job_is_queued_where_its_location_says(client: httpx2.Client):
    response = client.post("/v1/jobs", json=JOB | {"name": "first", "labels": {"a": "1"}})
    assert response.status_code == 202
    job = Job.model_validate_json(response.content)
    assert job.status == "queued"
    assert job.queue is not None
    assert job.queue.position == 1
    assert job.summary.parameters == 3 * (1 + 3 + 2) + (3 + 1)
    assert job.summary.baseline_loss == 3.0
    assert response.headers["location"] == f"/v1/jobs/{job.id}"
    assert Job.model_validate_json(client.get(response.headers["location"]).content) == job


def test_whoever_runs_the_job_learns_of_its_trace_context_if_it_is_one(api: Api, client: httpx2.Client):
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    for given, kept in ((trace, trace), ("nonsense", None), (None, None)):
        client.post("/v1/jobs", json=JOB, headers={"traceparent": given} if given else {})
        assert claim(api).traceparent == kept


def test_the_same_idempotency_key_and_body_give_the_same_job(api: Api, client: httpx2.Client):
    headers = {"Idempotency-Key": "k-1"}
    first = client.post("/v1/jobs", json=JOB, headers=headers)
    again = client.post("/v1/jobs", json=JOB | {"seed": 0}, headers=headers)  # seed 0 is the default: the same job
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert api.count() == 1


def test_an_idempotency_key_with_another_body_is_refused_and_names_the_header(api: Api, client: httpx2.Client):
    headers = {"Idempotency-Key": "k-1"}
    client.post("/v1/jobs", json=JOB, headers=headers)
    refused = client.post("/v1/jobs", json=JOB | {"seed": 1}, headers=headers)
    document = problem(refused, 422, "idempotency_key_reused")
    assert [error["pointer"] for error in document["errors"]] == ["#Idempotency-Key"]
    assert api.count() == 1


def test_a_replay_gives_the_job_though_its_model_was_forgotten_meanwhile(api: Api, client: httpx2.Client):
    client.post("/v1/models", json={"name": "net", "config": JOB["model"]})
    headers, body = {"Idempotency-Key": "k-1"}, JOB | {"model": "net"}
    first = client.post("/v1/jobs", json=body, headers=headers).json()
    client.post(f"/v1/jobs/{first['id']}/cancel")
    assert client.delete("/v1/models/net").status_code == 204
    again = client.post("/v1/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, first["id"], "cancelled")
    assert again.headers["idempotent-replayed"] == "true"
    assert pointers(client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k-2"})) == ["/model"]
    refused = client.post("/v1/jobs", json=body | {"seed": 7}, headers=headers)
    problem(refused, 422, "idempotency_key_reused")
    client.post("/v1/models", json={"name": "net", "config": JOB["model"] | {"cell": {"hidden_size": 4}}})
    assert client.post("/v1/jobs", json=body, headers=headers).json()["id"] == first["id"]
    assert api.count() == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a b"])
def test_an_idempotency_key_that_is_none_is_refused(shared: tuple[Api, httpx2.Client], key: str):
    api, client = shared
    assert pointers(client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": key})) == ["#Idempotency-Key"]
    assert api.count() == 0


def test_two_tenants_may_use_the_same_idempotency_key(client: httpx2.Client, stranger: httpx2.Client):
    ours, theirs = (one.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "k"}) for one in (client, stranger))
    assert ours.json()["id"] != theirs.json()["id"]


def test_a_dry_run_tells_the_cost_and_stores_nothing(api: Api, client: httpx2.Client):
    client.post("/v1/models", json={"name": "net", "config": JOB["model"]})
    response = client.post("/v1/jobs?dry_run=true", json=JOB | {"model": "net"}, headers={"Idempotency-Key": "k"})
    assert response.status_code == 200
    found = DryRun.model_validate_json(response.content)
    assert found.config.model_dump(mode="json")["model"]["cell"]["hidden_size"] == 3
    assert found.parameters == 22
    assert found.memory_bytes > 0
    assert found.seconds > 0
    assert api.count() == 0
    submitted = client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "k"})
    assert submitted.status_code == 202
    assert submitted.json()["summary"]["estimated_seconds"] == found.seconds


def test_a_quota_limits_the_jobs_that_have_not_ended(api: Api):
    with api.client("read", "write", max_active_jobs=1) as limited:
        job = limited.post("/v1/jobs", json=JOB).json()
        refused = limited.post("/v1/jobs", json=JOB)
        assert problem(refused, 429, "quota_exceeded")["retryable"]
        assert int(refused.headers["retry-after"]) > 0
        limited.post(f"/v1/jobs/{job['id']}/cancel")
        assert limited.post("/v1/jobs", json=JOB).status_code == 202


def test_pages_of_a_list_hold_every_job_once_while_new_ones_arrive(client: httpx2.Client):
    ids = [client.post("/v1/jobs", json=JOB).json()["id"] for _ in range(7)]
    seen, cursor = [], None
    while True:
        response = client.get("/v1/jobs", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
        page = Page[Job].model_validate_json(response.content)
        seen += [job.id for job in page.data]
        client.post("/v1/jobs", json=JOB)
        if (cursor := page.next) is None:
            break
    assert seen == ids[::-1]


def test_filters_of_a_list_are_all_applied(client: httpx2.Client):
    client.post("/v1/models", json={"name": "net", "config": JOB["model"]})

    def submit(**fields: object) -> str:
        return client.post("/v1/jobs", json=JOB | fields).json()["id"]

    red = submit(labels={"colour": "red", "url": "http://x:1"}, name="a")
    blue = submit(labels={"colour": "blue"}, model="net")
    gone = submit(labels={"colour": "red"})
    client.post(f"/v1/jobs/{gone}/cancel")

    def found(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"/v1/jobs?{query}").json()["data"]]

    assert found("label=colour:red") == [gone, red]
    assert found("label=colour:red&status=queued") == [red]
    assert found("status=queued&status=cancelled") == [gone, blue, red]
    assert found("label=url:http://x:1") == [red]
    assert found("label=colour:red&label=colour:blue") == []
    assert found("label=colour:red&label=url:http://x:1") == [red]
    assert found("model=net") == [blue]
    assert found("name=a") == [red]
    assert found("kind=train&name=none") == []


def test_labels_with_awkward_characters_can_be_filtered_by(client: httpx2.Client):
    for label in ('a"b', "a.b", "a'b", "$", "[0]", "ключ", "a b", "a\\b", "%"):
        job = client.post("/v1/jobs", json=JOB | {"labels": {label: "x:y"}}).json()
        found = client.get("/v1/jobs", params={"label": f"{label}:x:y"}).json()["data"]
        assert [one["id"] for one in found] == [job["id"]], label


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "?limit"),
        ("limit=201", "?limit"),
        ("limit=x", "?limit"),
        ("cursor=%00%ff", "?cursor"),
        ("cursor=abc", "?cursor"),
        ("status=lost", "?status"),
        ("label=colour", "?label"),
        ("kind=sweep", "?kind"),
    ],
)
def test_a_wrong_query_parameter_is_named(shared: tuple[Api, httpx2.Client], query: str, pointer: str):
    _, client = shared
    assert pointers(client.get(f"/v1/jobs?{query}")) == [pointer]


def test_an_unchanged_job_is_not_sent_again(client: httpx2.Client):
    job = client.post("/v1/jobs", json=JOB).json()
    first = client.get(f"/v1/jobs/{job['id']}")
    etag = first.headers["etag"]
    again = client.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": f'"other", {etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    client.post(f"/v1/jobs/{job['id']}/pause")
    changed = client.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": etag})
    assert (changed.status_code, changed.json()["status"]) == (200, "paused")
    assert changed.headers["etag"] != etag


def test_prefer_wait_answers_when_the_job_has_ended(api: Api, client: httpx2.Client):
    job = client.post("/v1/jobs", json=JOB).json()
    lease = claim(api)

    def work() -> None:
        time.sleep(0.3)
        progress(lease, 3)
        time.sleep(0.3)
        checkpoint(lease, 100, (0.5, 0.2))
        leases.end(lease, "succeeded")

    worker = threading.Thread(target=work)
    begin = time.monotonic()
    worker.start()
    response = client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "respond-async, wait=20"})
    took = time.monotonic() - begin
    worker.join()
    assert response.json()["status"] == "succeeded"
    assert response.headers["preference-applied"] == "wait=20"
    assert 0.6 <= took < 10


def test_prefer_wait_gives_up_after_its_time_and_shows_the_job_as_it_is(client: httpx2.Client):
    job = client.post("/v1/jobs", json=JOB).json()
    begin = time.monotonic()
    response = client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=1"})
    assert 1.0 <= time.monotonic() - begin < 10
    assert (response.status_code, response.json()["status"]) == (200, "queued")


def test_prefer_wait_with_an_etag_answers_at_the_next_change(client: httpx2.Client):
    path = f"/v1/jobs/{client.post('/v1/jobs', json=JOB).json()['id']}"
    etag = client.get(path).headers["etag"]
    pausing = threading.Timer(0.3, lambda: client.post(f"{path}/pause"))
    pausing.start()
    response = client.get(path, headers={"Prefer": "wait=20", "If-None-Match": etag})
    pausing.join()
    assert (response.status_code, response.json()["status"]) == (200, "paused")
    unchanged = client.get(path, headers={"Prefer": "wait=1", "If-None-Match": response.headers["etag"]})
    assert unchanged.status_code == 304


def test_prefer_is_capped_at_a_minute_and_ignored_where_it_makes_no_sense(client: httpx2.Client):
    path = f"/v1/jobs/{client.post('/v1/jobs', json=JOB).json()['id']}"
    client.post(f"{path}/cancel")
    assert client.get(path, headers={"Prefer": "wait=999999"}).headers["preference-applied"] == "wait=60"
    assert "preference-applied" not in client.get(path, headers={"Prefer": "wait=soon"}).headers


def test_many_waiting_requests_hold_up_nobody_else(client: httpx2.Client):
    path = f"/v1/jobs/{client.post('/v1/jobs', json=JOB).json()['id']}"
    waiting = [
        threading.Thread(target=client.get, args=[path], kwargs={"headers": {"Prefer": "wait=5"}}) for _ in range(60)
    ]
    for thread in waiting:
        thread.start()
    time.sleep(0.5)
    begin = time.monotonic()
    assert client.get("/v1/tasks").status_code == 200
    took = time.monotonic() - begin
    client.post(f"{path}/cancel")
    for thread in waiting:
        thread.join()
    assert took < 3


def test_a_job_moves_along_its_edges_and_no_others(api: Api, client: httpx2.Client):
    path = f"/v1/jobs/{client.post('/v1/jobs', json=JOB).json()['id']}"

    def post(verb: str) -> httpx2.Response:
        return client.post(f"{path}/{verb}")

    assert post("pause").json()["status"] == "paused"
    assert post("pause").json()["status"] == "paused"
    problem(post("retry"), 409, "invalid_transition")
    assert post("resume").json()["status"] == "queued"
    problem(client.delete(path), 409, "job_not_ended")
    claim(api)
    assert (post("pause").json()["status"], post("resume").json()["requested"]) == ("running", None)
    cancelled = post("cancel").json()
    assert (cancelled["status"], cancelled["requested"]) == ("running", "cancel")
    problem(post("pause"), 409, "invalid_transition")


def test_a_cancelled_job_can_be_retried_or_deleted(client: httpx2.Client):
    path = f"/v1/jobs/{client.post('/v1/jobs', json=JOB).json()['id']}"
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    assert client.post(f"{path}/retry").json()["status"] == "queued"
    client.post(f"{path}/cancel")
    deleted = client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    problem(client.get(path), 404, "not_found")
    problem(client.delete(path), 404, "not_found")


def test_a_finished_job_names_its_best_network(api: Api, client: httpx2.Client):
    job = trained(api, client)
    assert job["status"] == "succeeded"
    assert job["summary"]["best"] == {"checkpoint": job["summary"]["last_checkpoint"], "replica": 1, "loss": 0.2}
    problem(client.post(f"/v1/jobs/{job['id']}/cancel"), 409, "invalid_transition")
    problem(client.post(f"/v1/jobs/{job['id']}/retry"), 409, "invalid_transition")


def test_every_path_of_a_job_is_hidden_from_another_tenant(api: Api, client: httpx2.Client, stranger: httpx2.Client):
    path = f"/v1/jobs/{trained(api, client)['id']}"
    for suffix in ("", "/events", "/metrics", "/checkpoints"):
        problem(stranger.get(path + suffix), 404, "not_found")
    for verb in ("cancel", "pause", "resume", "retry"):
        problem(stranger.post(f"{path}/{verb}"), 404, "not_found")
    problem(stranger.delete(path), 404, "not_found")
    assert stranger.get("/v1/jobs").json()["data"] == []
    assert client.get(path).status_code == 200
