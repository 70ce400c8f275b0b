from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, file
from unroll import Client
from unroll.contract import ChangeKey

TASK = {
    "name": "integrate_noise",
    "description": "",
    "input_size": 1,
    "output_size": 1,
    "parameters": {},
    "baseline": {"predictor": "zero", "loss": 10.5, "formula": "(T+1)/2"},
}
MODEL = {"name": "m", "config": examples.NETWORK, "parameters": 19, "serving": None, "created_at": examples.TIME}
PREDICTION = {"outputs": [[[0.5]]], "model": None, "checkpoint": "ckpt_1", "replica": 0}
DRY_RUN = {"config": examples.CONFIG, "parameters": 1, "total": 100, "memory_bytes": 1, "seconds": 1.0}
DRY_RUN |= {"baseline_loss": 10.5}
ME = {"key": examples.key(), "active_jobs": 0}
CHECK = {
    "passed": True,
    "parameters": 19,
    "loss": [1.0],
    "engines": [],
    "tolerances": {},
    "lag_profile": [],
    "biases": [],
    "formulas": [],
    "notes": [],
    "config": {"model": examples.NETWORK},
}

OPERATIONS: dict[str, tuple[Callable[[Client], Any], Any]] = {
    "GET /v1/tasks": (lambda c: list(c.tasks.list()), {"data": [TASK], "next": None}),
    "GET /v1/tasks/integrate_noise": (lambda c: c.tasks.get("integrate_noise"), TASK),
    "POST /v1/tasks/integrate_noise/sample": (
        lambda c: c.tasks.sample("integrate_noise"),
        {"task": TASK, "parameters": {}, "seed": 0, "inputs": [[[0.5]]], "targets": [[[0.5]]]},
    ),
    "POST /v1/models": (lambda c: c.models.register("m", examples.NETWORK), MODEL),
    "GET /v1/models": (lambda c: list(c.models.list()), {"data": [MODEL], "next": None}),
    "GET /v1/models/m": (lambda c: c.models.get("m"), MODEL),
    "DELETE /v1/models/m": (lambda c: c.models.delete("m"), None),
    "PUT /v1/models/m/serving": (lambda c: c.models.serve("m", "ckpt_1", 1), MODEL),
    "POST /v1/models/m/predict": (lambda c: c.models.predict("m", [[[1.0]]]), PREDICTION),
    "POST /v1/jobs": (lambda c: c.jobs.submit(examples.CONFIG), examples.job()),
    "POST /v1/jobs?dry_run": (lambda c: c.jobs.dry_run(examples.CONFIG), DRY_RUN),
    "GET /v1/jobs": (lambda c: list(c.jobs.list()), {"data": [examples.job()], "next": None}),
    "GET /v1/jobs/job_1": (lambda c: c.jobs.get("job_1"), examples.job()),
    "DELETE /v1/jobs/job_1": (lambda c: c.jobs.delete("job_1"), None),
    "POST /v1/jobs/job_1/cancel": (lambda c: c.jobs.cancel("job_1"), examples.job()),
    "POST /v1/jobs/job_1/pause": (lambda c: c.jobs.pause("job_1"), examples.job()),
    "POST /v1/jobs/job_1/resume": (lambda c: c.jobs.resume("job_1"), examples.job()),
    "POST /v1/jobs/job_1/retry": (lambda c: c.jobs.retry("job_1"), examples.job()),
    "GET /v1/jobs/job_1/events": (lambda c: c.jobs.events("job_1", after=2), {"data": [examples.event(3)]}),
    "GET /v1/jobs/job_1/metrics": (
        lambda c: c.jobs.metrics("job_1", names=["loss"]),
        {"job": "job_1", "last_step": 0, "downsampled": False, "series": []},
    ),
    "GET /v1/tasks/recall?parameters": (
        lambda c: c.tasks.get("recall", {"symbols": 5}),
        TASK,
    ),
    "GET /v1/jobs/job_1/checkpoints": (
        lambda c: list(c.jobs.checkpoints("job_1")),
        {"data": [examples.checkpoint()], "next": None},
    ),
    "GET /v1/jobs/job_1/artifacts": (
        lambda c: list(c.jobs.artifacts("job_1")),
        {"data": [examples.artifact("result.json", b"{}")]},
    ),
    "GET /v1/jobs/job_1/artifacts/model.onnx": (lambda c: c.jobs.artifact("job_1", "model.onnx"), b"raw"),
    "GET /v1/checkpoints/ckpt_1": (lambda c: c.checkpoints.get("ckpt_1"), examples.checkpoint()),
    "GET /v1/checkpoints/ckpt_1/content": (lambda c: c.checkpoints.content("ckpt_1"), b"raw"),
    "POST /v1/checkpoints/ckpt_1/predict": (lambda c: c.checkpoints.predict("ckpt_1", [[[1.0]]]), PREDICTION),
    "POST /v1/keys": (lambda c: c.keys.create("laptop"), examples.key(secret="s")),
    "GET /v1/keys": (lambda c: list(c.keys.list()), {"data": [examples.key()], "next": None}),
    "GET /v1/keys/key_1": (lambda c: c.keys.get("key_1"), examples.key()),
    "PATCH /v1/keys/key_1": (lambda c: c.keys.update("key_1", ChangeKey(name="b")), examples.key()),
    "DELETE /v1/keys/key_1": (lambda c: c.keys.delete("key_1"), None),
    "POST /v1/checks": (lambda c: c.check("net", time_steps=3), CHECK),
    "GET /v1/schema": (lambda c: c.schemas.list(), {"kinds": {"network": ""}}),
    "GET /v1/schema/network": (lambda c: c.schemas.get("network"), {"title": "Network"}),
    "GET /v1/me": (lambda c: c.me(), ME),
    "GET /v1/workers": (lambda c: list(c.workers()), {"data": [], "next": None}),
    "GET /v1/queues": (lambda c: list(c.queues()), {"data": [], "next": None}),
    "GET /readyz": (lambda c: c.ready(), {}),
    "GET /livez": (lambda c: c.alive(), {}),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_of_the_api_has_a_method(server: ScriptedServer, client: Client, operation: str) -> None:
    call, answer = OPERATIONS[operation]
    server.script = lambda _: Answer(204) if answer is None else Answer(body=answer)
    if isinstance(answer, bytes):
        server.script = lambda _: file(answer)
    result = call(client)
    assert (result is None) == (answer is None)
    first = server.seen[0]
    assert f"{first.method} {first.path}" == operation.partition("?")[0]
    assert (first.query.get("dry_run") == ["true"]) == operation.endswith("?dry_run")
    assert (first.query.get("parameters") == ['{"symbols":5}']) == operation.endswith("?parameters")


def test_a_list_follows_its_pages_with_the_same_filters(server: ScriptedServer, client: Client) -> None:
    pages = {None: ([1, 2], "b"), "b": ([3], "c"), "c": ([], "d"), "d": ([4], None)}

    def page(seen: Any) -> Answer:
        ids, following = pages[seen.query.get("cursor", [None])[0]]
        return Answer(body={"data": [examples.job(id=f"job_{n}") for n in ids], "next": following})

    server.script = page
    listing = client.jobs.list(
        status=["failed", "running"], labels={"lab": "a b", "x": "y:z"}, name="n", parent="job_0", kind="train", limit=2
    )
    assert [job.id for job in listing] == ["job_1", "job_2", "job_3", "job_4"]
    assert len(server.seen) == 4
    for seen in server.seen:
        assert seen.query["status"] == ["failed", "running"]
        assert seen.query["label"] == ["lab:a b", "x:y:z"]
        assert seen.query["name"] == ["n"]
        assert seen.query["limit"] == ["2"]
        assert (seen.query["parent"], seen.query["kind"]) == (["job_0"], ["train"])
        assert "model" not in seen.query


def test_a_list_fetches_no_page_before_it_is_needed(server: ScriptedServer, client: Client) -> None:
    server.script = lambda _: Answer(body={"data": [examples.job()], "next": "more"})
    assert next(iter(client.jobs.list())).id == "job_1"
    assert len(server.seen) == 1
    assert [job.id for job in client.jobs.list().first_page().data] == ["job_1"]
    assert len(server.seen) == 2


def test_items_of_a_list_are_taken_by_their_place_with_no_page_more_than_that_takes(
    server: ScriptedServer, client: Client
) -> None:
    def page(seen: Any) -> Answer:
        first = int(seen.query.get("cursor", ["0"])[0])
        following = str(first + 2) if first < 4 else None
        return Answer(body={"data": [examples.job(id=f"job_{n}") for n in (first, first + 1)], "next": following})

    server.script = page
    listing = client.jobs.list()
    for place, pages in ((0, 1), (1, 1), (2, 2), (-1, 3), (5, 3)):
        server.seen.clear()
        assert listing[place].id == f"job_{range(6)[place]}"
        assert len(server.seen) == pages
    for part, pages in ((slice(2), 1), (slice(1, 4), 2), (slice(None), 3), (slice(-2, None), 3), (slice(4, None), 3)):
        server.seen.clear()
        assert [job.id for job in listing[part]] == [f"job_{n}" for n in range(6)[part]]
        assert len(server.seen) == pages
    with pytest.raises(IndexError):
        listing[6]


def test_a_job_that_did_not_change_is_not_sent_again(server: ScriptedServer, client: Client) -> None:
    server.answers(Answer(body=examples.job(), headers={"ETag": '"1"'}), Answer(304))
    job, etag = client.jobs.changed("job_1", None)
    assert job is not None
    assert etag == '"1"'
    assert client.jobs.changed("job_1", etag, wait=1.5) == (None, '"1"')
    assert server.seen[1].headers["if-none-match"] == '"1"'
    assert server.seen[1].headers["prefer"] == "wait=2"


def test_a_server_that_is_away_is_neither_alive_nor_ready() -> None:
    with Client("http://127.0.0.1:9") as client:
        assert not client.alive()
        assert not client.ready()
