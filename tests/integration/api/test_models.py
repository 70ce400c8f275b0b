from __future__ import annotations

import hashlib
import time
from typing import Any

import httpx2
import numpy as np
import pytest
from safetensors.numpy import load

from store import leases
from tests.integration.api.serving import JOB, Api, checkpoint, claim, pointers, problem, trained
from unroll.contract import Model, PredictResponse

NET = {"name": "net", "config": JOB["model"]}
OF_NET = JOB | {"model": "net"}


def by_hand(tensors: dict[str, np.ndarray], replica: int, x: list[list[float]], h: np.ndarray | None = None) -> Any:
    """The course's equations, in float64."""
    w = {name: tensor[replica].astype(np.float64) for name, tensor in tensors.items()}
    h = np.zeros(len(w["layers.0.b_h"])) if h is None else h
    outputs = []
    for x_t in x:
        h = np.tanh(w["layers.0.W_xh"] @ x_t + w["layers.0.b_x"] + w["layers.0.W_hh"] @ h + w["layers.0.b_h"])
        outputs.append(w["readout.W_hy"] @ h + w["readout.b_y"])
    return np.array(outputs), h


def test_registering_the_same_twice_is_no_error_and_something_else_is(client: httpx2.Client):
    first = client.post("/v1/models", json=NET)
    assert (first.status_code, first.headers["location"]) == (201, "/v1/models/net")
    model = Model.model_validate_json(first.content)
    assert (model.parameters, model.serving) == (22, None)
    full = {"name": "net", "config": model.config.model_dump(mode="json")}
    again = client.post("/v1/models", json=full)  # the same, with every default spelled out
    assert (again.status_code, again.json()) == (200, first.json())
    other = {"name": "net", "config": JOB["model"] | {"cell": {"hidden_size": 4}}}
    problem(client.post("/v1/models", json=other), 409, "name_conflict")
    assert client.get("/v1/models/net").json() == first.json()
    assert [one["name"] for one in client.get("/v1/models").json()["data"]] == ["net"]


def test_a_model_that_contradicts_itself_is_not_registered(client: httpx2.Client):
    config = {"cell": {"hidden_size": 4}, "input_size": 1, "output_size": 1}
    config["connectivity"] = {"dale": {}, "symmetry": "antisymmetric"}
    answer = client.post("/v1/models", json={"name": "net", "config": config})
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == "/config/connectivity/symmetry"


def test_a_model_too_large_to_train_is_not_registered(client: httpx2.Client):
    large = {"cell": {"hidden_size": 16384}, "input_size": 4096, "output_size": 4096}
    response = client.post("/v1/models", json={"name": "large", "config": large | {"cell": {"hidden_size": 10**9}}})
    assert pointers(response) == ["/config/cell/hidden_size"]
    problem(client.get("/v1/models/large"), 404, "not_found")


def test_a_model_in_use_cannot_be_deleted_and_its_jobs_outlive_it(client: httpx2.Client):
    client.post("/v1/models", json=NET)
    job = client.post("/v1/jobs", json=OF_NET).json()
    assert (job["summary"]["model"], job["config"]["model"]["cell"]["hidden_size"]) == ("net", 3)
    problem(client.delete("/v1/models/net"), 409, "model_in_use")
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.delete("/v1/models/net").status_code == 204
    problem(client.get("/v1/models/net"), 404, "not_found")
    assert client.get(f"/v1/jobs/{job['id']}").json()["config"]["model"]["cell"]["hidden_size"] == 3


def test_a_model_predicts_with_the_best_of_the_job_that_finished_last(api: Api, client: httpx2.Client):
    client.post("/v1/models", json=NET)
    body = {"inputs": [[[1.0], [-0.5]], [[2.0]]]}
    problem(client.post("/v1/models/net/predict", json=body), 409, "no_checkpoint")
    for losses in ((0.1, 0.9), (0.9, 0.8)):
        job = trained(api, client, OF_NET | {"seed": int(losses[0] * 10)}, losses)
    response = client.post("/v1/models/net/predict", json=body)
    found = PredictResponse.model_validate_json(response.content)
    assert (found.model, found.checkpoint, found.replica) == ("net", job["summary"]["best"]["checkpoint"], 1)
    assert client.get("/v1/models/net").json()["serving"] == {
        "checkpoint": job["summary"]["best"]["checkpoint"],
        "replica": 1,
        "pinned": False,
        "candidate": None,
        "shadow": None,
    }
    assert set(response.json()) == {"outputs", "model", "checkpoint", "replica"}
    tensors = load(client.get(f"/v1/checkpoints/{found.checkpoint}/content").content)
    assert found.outputs is not None
    for x, y in zip(body["inputs"], found.outputs, strict=True):
        np.testing.assert_allclose(y, by_hand(tensors, 1, x)[0], rtol=1e-5, atol=1e-6)


def test_a_pin_decides_what_a_model_predicts_with(api: Api, client: httpx2.Client):
    client.post("/v1/models", json=NET)
    pinned = trained(api, client, OF_NET)["summary"]["last_checkpoint"]
    trained(api, client, OF_NET)
    served = client.put("/v1/models/net/serving", json={"checkpoint": pinned, "replica": 0}).json()["serving"]
    assert served == {"checkpoint": pinned, "replica": 0, "pinned": True, "candidate": None, "shadow": None}
    found = client.post("/v1/models/net/predict", json={"inputs": [[[1.0]]]}).json()
    assert (found["checkpoint"], found["replica"]) == (pinned, 0)
    best = client.put("/v1/models/net/serving", json={"checkpoint": pinned, "replica": "best"}).json()["serving"]
    assert best["replica"] == 1


def test_a_pin_that_does_not_fit_is_refused(api: Api, client: httpx2.Client, stranger: httpx2.Client):
    client.post("/v1/models", json=NET)
    stranger.post("/v1/models", json=NET)
    ours = trained(api, client)["summary"]["last_checkpoint"]
    other = JOB | {"model": JOB["model"] | {"cell": {"hidden_size": 4}}}
    wide = trained(api, client, other)["summary"]["last_checkpoint"]

    def pin(who: httpx2.Client, checkpoint: str, replica: object = "best") -> httpx2.Response:
        return who.put("/v1/models/net/serving", json={"checkpoint": checkpoint, "replica": replica})

    assert pointers(pin(client, wide)) == ["/checkpoint"]
    assert pointers(pin(client, "ckpt_none")) == ["/checkpoint"]
    assert pointers(pin(client, ours, 2)) == ["/replica"]
    assert pointers(pin(stranger, ours)) == ["/checkpoint"]
    assert client.get("/v1/models/net").json()["serving"] is None


def test_a_sequence_cut_in_two_with_its_state_carried_gives_the_same_outputs(api: Api, client: httpx2.Client):
    path = f"/v1/checkpoints/{trained(api, client)['summary']['last_checkpoint']}/predict"
    x = np.random.default_rng(0).normal(size=(2, 12, 1)).tolist()

    def predict(**body: Any) -> dict[str, Any]:
        response = client.post(path, json=body | {"return": ["outputs", "state", "hidden"], "replica": "all"})
        assert response.status_code == 200, response.text
        return response.json()

    whole = predict(inputs=x)
    first = predict(inputs=[x[0][:5], x[1][:9]])
    second = predict(inputs=[x[0][5:], x[1][9:]], state=first["state"])
    for i in range(2):
        for replica in range(2):
            for name in ("outputs", "hidden"):
                assert first[name][i][replica] + second[name][i][replica] == whole[name][i][replica]
    assert second["state"] == whole["state"]
    assert whole["replica"] == "all"
    assert np.shape(whole["hidden"]) == (2, 2, 12, 3)


def test_a_long_answer_is_the_same_numbers_as_many_short_ones(api: Api, client: httpx2.Client):
    path = f"/v1/checkpoints/{trained(api, client)['summary']['last_checkpoint']}/predict"
    x = [[round(np.sin(t / 9.0), 3)] for t in range(40_000)]
    options: dict[str, Any] = {"return": ["outputs", "hidden", "state"], "replica": "all"}
    whole = client.post(path, json={"inputs": [x, x[:3]]} | options).json()
    outputs: list[list[Any]] = [[], []]
    hidden: list[list[Any]] = [[], []]
    state = None
    for start in range(0, len(x), 5_000):
        part = client.post(path, json={"inputs": [x[start : start + 5_000]], "state": state} | options).json()
        state = part["state"]
        for r in range(2):
            outputs[r] += part["outputs"][0][r]
            hidden[r] += part["hidden"][0][r]
    assert whole["outputs"][0] == outputs
    assert whole["hidden"][0] == hidden
    assert whole["state"][0] == state[0]
    assert [len(one) for one in whole["outputs"][1]] == [3, 3]


def test_a_prediction_that_is_too_large_is_refused_with_the_numbers(api: Api, client: httpx2.Client):
    path = f"/v1/checkpoints/{trained(api, client)['summary']['last_checkpoint']}/predict"
    steps = [[0.5]] * 200_000
    refused = client.post(path, json={"inputs": [steps], "return": ["outputs", "hidden"], "replica": "all"})
    assert pointers(refused) == ["/inputs"]
    assert "200,000 time steps are 1,600,000 values in the answer of 2 replicas" in refused.json()["detail"]
    begin = time.monotonic()
    body = '{"inputs": [[' + ",".join(["[0]"] * 5_000_000) + "]]}"
    refused = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert pointers(refused) == [""]
    assert "4,999,999 values and lists in it, more than 2,000,000" in refused.json()["detail"]
    assert time.monotonic() - begin < 5
    refused = client.post(path, json={"inputs": [[[0]]] * 65_537})
    assert pointers(refused) == ["/inputs"]
    assert "at most 65536" in refused.json()["detail"]


def test_a_checkpoint_predicts_with_the_replica_that_is_asked_for(api: Api, client: httpx2.Client):
    checkpoint_id = trained(api, client, losses=(0.1, 0.2))["summary"]["last_checkpoint"]
    path = f"/v1/checkpoints/{checkpoint_id}/predict"

    def outputs(replica: object) -> Any:
        return client.post(path, json={"inputs": [[[1.0]]], "replica": replica}).json()

    assert (outputs("best")["replica"], outputs(1)["replica"], outputs("all")["replica"]) == (0, 1, "all")
    assert outputs("best")["outputs"] == outputs(0)["outputs"] != outputs(1)["outputs"]
    assert outputs("all")["outputs"] == [[outputs(0)["outputs"][0], outputs(1)["outputs"][0]]]
    assert outputs(0)["model"] is None


def test_best_of_a_checkpoint_that_was_not_evaluated_must_be_named(api: Api, client: httpx2.Client):
    client.post("/v1/jobs", json=JOB)
    checkpoint(claim(api), 10)
    client.post("/v1/jobs", json=JOB | {"replicas": 1})
    single = claim(api)
    checkpoint(single, 10)
    ids = {
        job["config"]["replicas"]: job["summary"]["last_checkpoint"] for job in client.get("/v1/jobs").json()["data"]
    }
    assert pointers(client.post(f"/v1/checkpoints/{ids[2]}/predict", json={"inputs": [[[1.0]]]})) == ["/replica"]
    assert client.post(f"/v1/checkpoints/{ids[1]}/predict", json={"inputs": [[[1.0]]]}).json()["replica"] == 0


def test_the_content_of_a_checkpoint_has_its_hash_as_etag(api: Api, client: httpx2.Client):
    shown = client.get(f"/v1/checkpoints/{trained(api, client)['summary']['last_checkpoint']}").json()
    path = f"/v1/checkpoints/{shown['id']}/content"
    response = client.get(path)
    assert response.headers["content-type"] == "application/octet-stream"
    assert hashlib.sha256(response.content).hexdigest() == shown["sha256"]
    assert len(response.content) == shown["size"]
    assert response.headers["etag"] == f'"{shown["sha256"]}"'
    assert load(response.content)["layers.0.W_hh"].shape == (2, 3, 3)
    again = client.get(path, headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_checkpoints_of_a_job_come_in_pages_newest_first(api: Api, client: httpx2.Client):
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    lease = claim(api)
    for step in (10, 20, 30):
        checkpoint(lease, step)
    first = client.get(f"/v1/jobs/{job}/checkpoints?limit=2").json()
    second = client.get(f"/v1/jobs/{job}/checkpoints", params={"limit": 2, "cursor": first["next"]}).json()
    assert [one["step"] for one in first["data"] + second["data"]] == [30, 20, 10]
    assert [one["resumable"] for one in first["data"] + second["data"]] == [True, True, False]
    assert second["next"] is None
    leases.end(lease, "cancelled")


def test_checkpoints_and_models_are_hidden_from_another_tenant(
    api: Api, client: httpx2.Client, stranger: httpx2.Client
):
    client.post("/v1/models", json=NET)
    found = trained(api, client, OF_NET)["summary"]["last_checkpoint"]
    body = {"inputs": [[[1.0]]]}
    for response in (
        stranger.get(f"/v1/checkpoints/{found}"),
        stranger.get(f"/v1/checkpoints/{found}/content"),
        stranger.get(f"/v1/checkpoints/{found}/content", headers={"If-None-Match": "*"}),
        stranger.post(f"/v1/checkpoints/{found}/predict", json=body),
        stranger.get("/v1/models/net"),
        stranger.post("/v1/models/net/predict", json=body),
        stranger.put("/v1/models/net/serving", json={"checkpoint": found}),
        stranger.delete("/v1/models/net"),
    ):
        problem(response, 404, "not_found")
    assert client.post("/v1/models/net/predict", json=body).status_code == 200
    # the networks are in the server's memory now, and still not the stranger's
    problem(stranger.post(f"/v1/checkpoints/{found}/predict", json=body), 404, "not_found")
    assert pointers(stranger.post("/v1/jobs", json=OF_NET)) == ["/model"]


def test_content_that_was_damaged_in_the_database_is_never_served(api: Api, client: httpx2.Client):
    from sqlalchemy import update

    from store.tables import blob_chunks

    found = trained(api, client)["summary"]["last_checkpoint"]
    with api.db.begin() as tx:
        tx.execute(update(blob_chunks).values(data=b"damaged"))
    problem(client.get(f"/v1/checkpoints/{found}/content"), 500, "internal_error")
    problem(client.post(f"/v1/checkpoints/{found}/predict", json={"inputs": [[[1.0]]]}), 500, "internal_error")


@pytest.mark.parametrize("count", [1, 300])
def test_a_network_that_overflows_answers_null(api: Api, client: httpx2.Client, count: int):
    relu = JOB["model"] | {"cell": {"hidden_size": 3, "activation": "identity"}}
    found = trained(api, client, JOB | {"model": relu})["summary"]["last_checkpoint"]
    response = client.post(f"/v1/checkpoints/{found}/predict", json={"inputs": [[[3e38]] * count], "replica": 0})
    assert response.status_code == 200
    values = [y for (y,) in response.json()["outputs"][0]]
    assert len(values) == count
    assert all(y is None or abs(y) < 3.5e38 for y in values)
