"""The Open Inference Protocol, with Triton's own client and with requests as KServe's documentation has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from tests.integration.api.serving import JOB, Api, trained

NET: dict[str, Any] = {"name": "net", "config": JOB["model"]}
OF_NET = JOB | {"model": "net"}
X = np.random.default_rng(0).standard_normal((2, 6, 1)).astype(np.float32)


@pytest.fixture(autouse=True)
def model(api: Api, client: httpx2.Client) -> str:
    client.post("/v1/models", json=NET)
    return trained(api, client, OF_NET)["summary"]["best"]["checkpoint"]


@pytest.fixture
def server(api: Api) -> Iterator[tuple[Any, dict[str, str]]]:
    with triton.InferenceServerClient(api.url.removeprefix("http://")) as made:
        yield made, {"Authorization": f"Bearer {api.key('predict')}"}


def whole(client: httpx2.Client, **fields: Any) -> Any:
    body = {"inputs": X.tolist()} | fields
    return np.asarray(client.post("/v1/models/net/predict", json=body).json()["outputs"], np.float32)


def tensor(x: np.ndarray, *, binary: bool = True) -> Any:
    made = triton.InferInput("inputs", list(x.shape), "FP32")
    made.set_data_from_numpy(x, binary_data=binary)
    return made


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("binary_answer", [True, False])
def test_tritons_client_gets_what_predict_gives(server: Any, client: httpx2.Client, binary: bool, binary_answer: bool):  # noqa: FBT001
    ask, headers = server
    wanted = [triton.InferRequestedOutput("outputs", binary_data=binary_answer)]
    found = ask.infer("net", [tensor(X, binary=binary)], outputs=wanted, headers=headers, request_id="7")
    assert found.get_response()["id"] == "7"
    assert np.array_equal(found.as_numpy("outputs"), whole(client))
    assert found.as_numpy("outputs").dtype == np.float32


def test_tritons_client_reads_health_and_metadata(server: Any, model: str):
    ask, headers = server
    assert ask.is_server_live()
    assert ask.is_server_ready()
    assert ask.is_model_ready("net", headers=headers)
    assert not ask.is_model_ready("nothing", headers=headers)
    assert ask.get_server_metadata()["extensions"] == ["binary_tensor_data", "sequence"]
    about = ask.get_model_metadata("net", headers=headers)
    assert about["versions"] == [model]
    assert about["inputs"][0] == {"name": "inputs", "datatype": "FP32", "shape": [-1, -1, 1]}
    assert about["outputs"][0] == {"name": "outputs", "datatype": "FP32", "shape": [-1, -1, 1]}


def test_a_sequence_goes_on_where_it_stopped(server: Any, client: httpx2.Client):
    ask, headers = server
    expected = whole(client)
    for name in (42, "a sensor"):
        for t in range(6):
            found = ask.infer(
                "net",
                [tensor(X[:, t : t + 1])],
                headers=headers,
                sequence_id=name,
                sequence_start=t == 0,
                sequence_end=t == 5,
            )
            assert np.array_equal(found.as_numpy("outputs")[:, 0], expected[:, t])
    with pytest.raises(InferenceServerException, match="has not been started"):
        ask.infer("net", [tensor(X[:, :1])], headers=headers, sequence_id=42)


def test_a_sequence_that_starts_again_begins_anew_and_belongs_to_its_tenant(
    api: Api, server: Any, client: httpx2.Client
):
    ask, headers = server
    first = [
        ask.infer("net", [tensor(X[:, :2])], headers=headers, sequence_id=1, sequence_start=True).as_numpy("outputs")
        for _ in range(2)
    ]
    assert np.array_equal(first[0], first[1])
    assert np.array_equal(first[0], whole(client)[:, :2])
    theirs = {"Authorization": f"Bearer {api.key(tenant='theirs')}"}
    with pytest.raises(InferenceServerException, match="no model net"):
        ask.infer("net", [tensor(X[:, :1])], headers=theirs, sequence_id=1)


def test_a_request_as_kserves_documentation_has_it(client: httpx2.Client, model: str):
    body = {
        "id": "42",
        "inputs": [{"name": "inputs", "shape": [1, 6, 1], "datatype": "FP32", "data": X[0].reshape(-1).tolist()}],
    }
    found = client.post("/v2/models/net/infer", json=body).json()
    assert (found["id"], found["model_name"], found["model_version"]) == ("42", "net", model)
    (output,) = found["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("outputs", "FP32", [1, 6, 1])
    assert np.array_equal(np.asarray(output["data"], np.float32), whole(client)[0].reshape(-1))
    nested = body | {"inputs": [body["inputs"][0] | {"shape": [6, 1], "data": X[0].tolist()}]}  # type: ignore[index]
    again = client.post(f"/v2/models/net/versions/{model}/infer", json=nested).json()["outputs"][0]
    assert (again["shape"], again["data"]) == ([6, 1], output["data"])


def test_ragged_batches_replicas_and_hidden_states(client: httpx2.Client):
    inputs = [
        {"name": "inputs", "shape": [2, 6, 1], "datatype": "FP32", "data": X.tolist()},
        {"name": "lengths", "shape": [2], "datatype": "INT64", "data": [6, 3]},
    ]
    asked = {
        "inputs": inputs,
        "outputs": [{"name": "outputs"}, {"name": "hidden"}],
        "parameters": {"replica": "all"},
    }
    outputs, hidden = client.post("/v2/models/net/infer", json=asked).json()["outputs"]
    assert (outputs["shape"], hidden["shape"]) == ([2, 2, 6, 1], [2, 2, 6, 3])
    found = np.asarray(outputs["data"], np.float32).reshape(2, 2, 6, 1)
    expected = whole(client, replica="all")
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1, :, :3], expected[1, :, :3])
    assert not found[1, :, 3:].any()


GOOD = {"name": "inputs", "shape": [1, 1, 1], "datatype": "FP32", "data": [1.0]}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"inputs": []}, "/inputs"),
        ({"inputs": [GOOD | {"name": "x"}]}, "/inputs"),
        ({"inputs": [GOOD | {"datatype": "BYTES"}]}, "/inputs/0/datatype"),
        ({"inputs": [GOOD | {"shape": [1, 2, 1]}]}, "/inputs/0/data"),
        ({"inputs": [GOOD | {"shape": [1, 1, 2], "data": [1, 2]}]}, "/inputs/0/shape"),
        ({"inputs": [GOOD | {"data": ["a"]}]}, "/inputs/0/data"),
        ({"inputs": [GOOD | {"data": None}]}, "/inputs/0/data"),
        ({"inputs": [GOOD, GOOD]}, "/inputs/1/name"),
        ({"inputs": [GOOD | {"shape": [1000, 1000, 1000]}]}, "/inputs/0/shape"),
        ({"inputs": [GOOD | {"parameters": {"binary_data_size": 4}}]}, "/inputs/0/parameters/binary_data_size"),
        ({"inputs": [GOOD], "outputs": [{"name": "y"}]}, "/outputs/0/name"),
        ({"inputs": [GOOD], "parameters": {"replica": 9}}, "/replica"),
        ({"inputs": [GOOD], "parameters": {"sequence_start": True}}, "/parameters/sequence_id"),
        ({"inputs": [GOOD | {"data": [1e39], "datatype": "FP64"}]}, "/inputs/0/0/0"),
    ],
)
def test_what_is_wrong_is_named_in_the_protocols_own_error(client: httpx2.Client, body: Any, pointer: str):
    refused = client.post("/v2/models/net/infer", json=body)
    assert refused.status_code == 422, refused.text
    document = refused.json()
    assert document["errors"][0]["pointer"] == pointer
    assert document["error"] == document["detail"]


@pytest.mark.parametrize("length", ["-1", "x", "100000"])
def test_a_header_that_lies_is_refused(client: httpx2.Client, length: str):
    refused = client.post(
        "/v2/models/net/infer",
        content=json.dumps({"inputs": [GOOD]}),
        headers={"Inference-Header-Content-Length": length},
    )
    assert refused.json()["errors"][0]["pointer"] == "#Inference-Header-Content-Length"


def test_bytes_that_belong_to_no_tensor_are_refused(client: httpx2.Client):
    head = json.dumps({"inputs": [GOOD]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    refused = client.post("/v2/models/net/infer", content=head + b"1234", headers=headers)
    assert "4 bytes after the last tensor" in refused.json()["error"]


def test_keys_and_versions_are_checked(api: Api, client: httpx2.Client):
    body = {"inputs": [GOOD]}
    assert httpx2.post(f"{api.url}/v2/models/net/infer", json=body, verify=False, trust_env=False).status_code == 401
    missing = client.post("/v2/models/nothing/infer", json=body)
    assert (missing.status_code, "no model nothing" in missing.json()["error"]) == (404, True)
    other = trained(api, client, JOB | {"model": JOB["model"] | {"cell": {"hidden_size": 4}}})
    version = other["summary"]["last_checkpoint"]
    for wrong in (version, "1"):
        refused = client.post(f"/v2/models/net/versions/{wrong}/infer", json=body)
        assert (refused.status_code, f"no version {wrong}" in refused.json()["error"]) == (404, True)
