"""No request costs the API process much: the largest values that the document admits, on every route."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx2
import numpy as np
import pytest

from api import openapi
from store import leases, metrics
from store.leases import Report
from tests.integration.api.serving import JOB, Api, checkpoint, claim, curve, pointers, problem

DOCUMENT = json.loads(openapi.FILE.read_text(encoding="utf-8"))
CPU_SECONDS = 1.0
"""Ten times the promise of 0.1 s, in CPU time of this process, so that a loaded machine changes nothing. It includes
the client. Without the limits, requests below took from 2 to 40 s."""
GETS = [path for path, operations in DOCUMENT["paths"].items() if "get" in operations]

LONG = {"length": 100_000, "min_length": 2}
SMALL = {"steps": 1, "batch_size": 1, "held_out": {"size": 1}}
WIDE = JOB["model"] | {"cell": {"hidden_size": 16_384}}
SPARSE = JOB["model"] | {"cell": {"hidden_size": 1_000}, "initialisation": "spectral_radius", "num_layers": 16}


def network(**fields: Any) -> dict[str, Any]:
    return WIDE | fields


BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "any length": ("/v1/jobs?dry_run=true", JOB | {"data": {"name": "integrate_noise", "parameters": LONG}}),
    "counts": (
        "/v1/jobs?dry_run=true",
        JOB | {"data": {"name": "poisson_counts", "parameters": LONG}, "training": SMALL | {"loss": "poisson"}},
    ),
    "bits": (
        "/v1/jobs?dry_run=true",
        JOB | {"data": {"name": "parity", "parameters": LONG}, "training": SMALL | {"loss": "bce"}},
    ),
    "weights in time": (
        "/v1/jobs?dry_run=true",
        JOB
        | {
            "data": {"name": "integrate_noise", "parameters": LONG | {"min_length": None}},
            "training": SMALL | {"loss": {"time_weights": [1] * 100_000}},
        },
    ),
    "sparse": ("/v1/jobs?dry_run=true", JOB | {"model": SPARSE | {"connectivity": {"density": 0.001}}}),
    "density": ("/v1/models", {"name": "density", "config": network(connectivity={"density": 0.5})}),
    "no autapses": ("/v1/models", {"name": "autapses", "config": network(connectivity={"autapses": False})}),
    "identity": ("/v1/models", {"name": "identity", "config": network(initialisation="identity")}),
    "orthogonal": (
        "/v1/models",
        {"name": "orthogonal", "config": network(initialisation="orthogonal", connectivity={"autapses": False})},
    ),
    "sparse model": (
        "/v1/models",
        {"name": "a", "config": network(initialisation="spectral_radius", connectivity={"density": 0.0005})},
    ),
    "gradient check": ("/v1/checks", {"model": network(connectivity={"density": 0.5})}),
    "unknown fields": ("/v1/jobs", JOB | {f"field{i}": 1 for i in range(15_000)}),
    "mask": ("/v1/jobs", JOB | {"model": JOB["model"] | {"connectivity": {"mask": [[2] * 300] * 300}}}),
    "labels": ("/v1/jobs", JOB | {"labels": {f"label{i}": "x" * 200 for i in range(1_000)}}),
    "key": ("/v1/keys", {"name": "x" * 200_000, "scopes": ["read"] * 1_000}),
    "evaluate": (
        "/v1/jobs?dry_run=true",
        {
            "kind": "evaluate",
            "checkpoint": "{checkpoint_id}",
            "data": {"name": "integrate_noise", "parameters": LONG},
            "sequences": 1,
            "lengths": [100_000 - i for i in range(100)],
        },
    ),
}


@pytest.fixture(scope="module")
def names(shared: tuple[Api, httpx2.Client]) -> dict[str, str]:
    """Values for all parts of paths: a job with a million logged values and megabytes of profiles, its checkpoint."""
    api, client = shared
    client.post("/v1/models", json={"name": "known", "config": JOB["model"]})
    job = client.post("/v1/jobs", json=JOB | {"training": {"steps": 1_000_000}}).json()["id"]
    lease = claim(api)
    for k in range(5):
        curve(lease, np.random.default_rng(k).standard_normal((100_000, 2)), 100_000 * k + 1)
    profile = [[0.125] * 128] * 1024
    leases.report(lease, Report(entries=[("lag_profile", {"step": k, "norm": profile}) for k in range(6)]))
    checkpoint(lease, 500_000, (0.5, 0.2))
    checkpoint_id = client.get(f"/v1/jobs/{job}/checkpoints").json()["data"][0]["id"]
    return {
        "job_id": job,
        "checkpoint_id": checkpoint_id,
        "session_id": client.post("/v1/sessions", json={"checkpoint": checkpoint_id}).json()["id"],
        "key_id": client.get("/v1/me").json()["key"]["id"],
        "name": "known",
        "kind": "train",
    }


def largest(schema: dict[str, Any]) -> list[str]:
    """The largest value of a query parameter, as it stands in a URL."""
    for one in schema.get("anyOf", [schema]):
        if "enum" in one:
            return [one["enum"][-1]]
        if one.get("type") == "integer":
            return [str(int(one["maximum"]))]
        if one.get("type") == "array":
            item = "key:" + "v" * 60 if "pattern" in one["items"] else largest(one["items"])[0][:60]
            return [item] * one["maxItems"]
        if one.get("type") == "string":
            return ["x" * min(one.get("maxLength", 2_000), 2_000)]
    return ["true"]


def queries(operation: dict[str, Any]) -> Iterator[str]:
    """No parameters; each alone at its largest value; all at once; and thousands that do not exist."""
    found = {
        one["name"]: one.get("schema", {"type": "string"})
        for one in operation.get("parameters", [])
        if one["in"] == "query"
    }
    pairs = {name: [(name, value) for value in largest(schema)] for name, schema in found.items()}
    yield ""
    yield from (urlencode(own) for own in pairs.values())
    yield urlencode([pair for own in pairs.values() for pair in own])
    yield "&".join(f"p{i}=" for i in range(4_000))


def cpu(call: Any) -> tuple[httpx2.Response, float]:
    begin = time.process_time()
    answered = call()
    return answered, time.process_time() - begin


@pytest.mark.parametrize("path", GETS)
def test_no_get_costs_much_whatever_its_parameters(shared: tuple[Api, httpx2.Client], names: dict[str, str], path: str):
    _, client = shared
    task = {"name": "poisson_counts"} if path.startswith("/v1/tasks") else {}
    where = re.sub(r"\{(\w+)\}", lambda part: (names | task)[part[1]], path)
    for query in queries(DOCUMENT["paths"][path]["get"]):
        response, seconds = cpu(lambda query=query: client.get(f"{where}?{query}"))
        assert response.status_code < 500, query[:100]
        assert seconds < CPU_SECONDS, query[:100]


@pytest.mark.parametrize("which", BODIES)
def test_no_body_costs_much_before_it_is_refused_or_stored(
    shared: tuple[Api, httpx2.Client], names: dict[str, str], which: str
):
    _, client = shared
    path, body = BODIES[which]
    content = json.dumps(body, separators=(",", ":")).replace("{checkpoint_id}", names["checkpoint_id"])
    assert len(content) <= 256 * 1024
    response, seconds = cpu(lambda: client.post(path, content=content, headers={"Content-Type": "application/json"}))
    assert response.status_code < 500
    assert seconds < CPU_SECONDS
    if path.endswith("dry_run=true"):
        assert response.status_code == 200, response.text


def test_tasks_of_every_length_are_described_at_once(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    for name in ("integrate_noise", "adding", "parity", "poisson_counts"):
        response, seconds = cpu(
            lambda name=name: client.get(f"/v1/tasks/{name}", params={"parameters": json.dumps(LONG)})
        )
        assert response.status_code == 200
        assert seconds < CPU_SECONDS


def test_long_series_are_thinned_one_request_at_a_time_and_too_long_ones_not_at_all(
    shared: tuple[Api, httpx2.Client], names: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    _, client = shared
    path = f"/v1/jobs/{names['job_id']}/metrics?max_points=100"
    monkeypatch.setattr(metrics, "MAX_THINNED_AT_ONCE", 1_000)
    taken = threading.Lock()
    monkeypatch.setattr(metrics, "_turn", taken)
    with taken:
        assert problem(client.get(path), 503, "busy")["retryable"]
        assert client.get(path).headers["retry-after"]
    assert client.get(path).status_code == 200
    assert not taken.locked()
    monkeypatch.setattr(metrics, "MAX_THINNED", 1_000)
    assert pointers(client.get(path)) == ["?max_points"]


def test_a_page_of_large_events_is_short_and_the_next_one_continues(
    shared: tuple[Api, httpx2.Client], names: dict[str, str]
):
    _, client = shared
    path, after, seen = f"/v1/jobs/{names['job_id']}/events?limit=1000", 0, []
    while (page := client.get(f"{path}&after={after}").json())["data"]:
        assert len(page["data"]) == 1 or sum(len(json.dumps(event)) for event in page["data"][:-1]) < 2 * 1024 * 1024
        seen += [event["seq"] for event in page["data"]]
        after = int(page["next"])
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) > 6
