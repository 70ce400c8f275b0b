from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.integration.api.serving import JOB, Api, pointers, problem, trained

JSON = {"Content-Type": "application/json"}
LIMIT_SECONDS = 0.5
"""Ten times the promise of 50 ms."""


def changed(pointer: str, value: Any) -> dict[str, Any]:
    """The job with one field changed or added."""
    job = json.loads(json.dumps(JOB))
    *path, last = pointer.strip("/").split("/")
    place = job
    for part in path:
        place = place.setdefault(part, {})
    place[last] = value
    return job


ADAM = {"type": "adam"}
WRONG = [
    ("/colour", "red", "/colour", "extra_forbidden"),
    ("/model/cell/hidden_sise", 10, "/model/cell/hidden_sise", "extra_forbidden"),
    ("/model/a~b", 1, "/model/a~0b", "extra_forbidden"),
    ("/data/parameters/lenght", 20, "/data/parameters/lenght", "extra_forbidden"),
    ("/training/steps", "100", "/training/steps", "int_type"),
    ("/training/steps", 1.5, "/training/steps", "int_type"),
    ("/training/steps", True, "/training/steps", "int_type"),
    ("/training/steps", None, "/training/steps", "int_type"),
    ("/training", [], "/training", "model_type"),
    ("/training/optimizer", ADAM | {"lr": float("nan")}, "/training/optimizer/lr", "finite_number"),
    ("/training/optimizer", ADAM | {"lr": float("inf")}, "/training/optimizer/lr", "finite_number"),
    ("/training/optimizer", ADAM | {"lr": "0.1"}, "/training/optimizer/lr", "float_type"),
    ("/training/optimizer", ADAM | {"lr": 0}, "/training/optimizer/lr", "greater_than"),
    ("/training/optimizer", {"type": "sgd", "beta1": 0.9}, "/training/optimizer/beta1", "extra_forbidden"),
    ("/training/optimizer", {"type": "lion"}, "/training/optimizer/type", "literal_error"),
    ("/training/schedule", {"steps": 9}, "/training/schedule/type", "missing"),
    ("/training/clip", {"type": "global_norm"}, "/training/clip/max_norm", "missing"),
    ("/data/parameters/length", float("nan"), "/data/parameters/length", "int_type"),
    ("/data/parameters/length", 0, "/data/parameters/length", "greater_than_equal"),
    ("/data/name", "no_such_task", "/data/name", "unknown_task"),
    ("/model/cell/hidden_size", 10**9, "/model/cell/hidden_size", "less_than_equal"),
    ("/model/cell/hidden_size", 10**400, "/model/cell/hidden_size", "less_than_equal"),
    ("/model/cell/hidden_size", -1, "/model/cell/hidden_size", "greater_than_equal"),
    ("/model/cell/type", "transformer", "/model/cell/type", "literal_error"),
    ("/model/input_size", 2, "/model/input_size", "width_mismatch"),
    ("/model", "no-such-model", "/model", "invalid"),
    ("/model", "not a name", "/model", "string_pattern_mismatch"),
    ("/model", {}, "/model/cell", "missing"),
    ("/max_seconds", float("inf"), "/max_seconds", "finite_number"),
    ("/labels", {"": "x"}, "/labels/", "string_too_short"),
    ("/labels/a", 1, "/labels/a", "string_type"),
    ("/seed", 2**63, "/seed", "less_than"),
    ("/replicas", 0, "/replicas", "greater_than_equal"),
    ("/kind", "sweep", "/kind", "literal_error"),
    ("/device", "tpu", "/device", "literal_error"),
]


@pytest.mark.parametrize(
    ("pointer", "value", "named", "code"), WRONG, ids=[f"{where}={str(value)[:20]}" for where, value, _, _ in WRONG]
)
def test_each_wrong_field_of_a_job_is_named_and_nothing_is_stored(
    shared: tuple[Api, httpx2.Client], pointer: str, value: Any, named: str, code: str
):
    api, client = shared
    for query in ("", "?dry_run=true"):
        response = client.post(f"/v1/jobs{query}", content=json.dumps(changed(pointer, value)), headers=JSON)
        errors = {error["pointer"]: error["code"] for error in problem(response, 422, "validation_failed")["errors"]}
        assert errors[named] == code
        assert all(one.startswith(named.rsplit("/", 1)[0]) for one in errors)
    assert api.count() == 0


def test_1e400_is_refused_as_the_infinity_that_it_becomes(shared: tuple[Api, httpx2.Client]):
    api, client = shared
    text = json.dumps(changed("/training/optimizer", {"type": "adam", "lr": 12345})).replace("12345", "1e400")
    assert pointers(client.post("/v1/jobs", content=text, headers=JSON)) == ["/training/optimizer/lr"]
    text = json.dumps(changed("/data/parameters/length", 12345)).replace("12345", "1e400")
    assert pointers(client.post("/v1/jobs", content=text, headers=JSON)) == ["/data/parameters/length"]
    assert api.count() == 0


def test_every_wrong_field_is_named_at_once(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    body = {"model": {"cell": {}, "input_size": 0, "output_size": 1}, "data": {}, "training": {"steps": -1}, "x": 1}
    assert sorted(pointers(client.post("/v1/jobs", json=body))) == [
        "/data/name",
        "/model/cell/hidden_size",
        "/model/input_size",
        "/training/steps",
        "/x",
    ]


@pytest.mark.parametrize(
    "body",
    [
        changed("/model/cell/hidden_size", 10**9),
        JOB | {"replicas": 1024, "model": JOB["model"] | {"cell": {"hidden_size": 16384}}},
        JOB | {"replicas": 1024, "training": {"steps": 1, "batch_size": 65536}, "data": {"name": "integrate_noise"}},
        changed("/data/parameters/length", 100_000) | {"training": {"steps": 1, "batch_size": 65536}},
        changed("/training/held_out", {"size": 65536})
        | {"data": {"name": "integrate_noise", "parameters": {"length": 100_000}}},
        JOB | {"labels": {str(i): "x" for i in range(15_000)}},
        JOB | {f"field{i}": 1 for i in range(15_000)},
    ],
    ids=["one field", "parameters", "activations", "length", "held out", "labels", "unknown fields"],
)
def test_an_oversized_configuration_is_refused_at_once(shared: tuple[Api, httpx2.Client], body: dict[str, Any]):
    api, client = shared
    content = json.dumps(body)
    begin = time.monotonic()
    response = client.post("/v1/jobs", content=content, headers=JSON)
    assert time.monotonic() - begin < LIMIT_SECONDS
    document = problem(response, 422, "validation_failed")
    assert document["errors"]
    assert len(response.content) < 20_000
    assert api.count() == 0


def test_the_wrong_field_of_a_model_that_was_named_is_the_name(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    wide = {"cell": {"hidden_size": 3}, "input_size": 7, "output_size": 1}
    assert client.post("/v1/models", json={"name": "wide", "config": wide}).status_code in {200, 201}
    assert pointers(client.post("/v1/jobs", json=JOB | {"model": "wide"})) == ["/model"]


@pytest.mark.parametrize("content", [b"", b"{", b"{,}", b'{"a": 1} x', b"\xff\xfe", b"nul", b"[" * 100_000])
def test_what_is_no_json_is_malformed_and_says_where(shared: tuple[Api, httpx2.Client], content: bytes):
    _, client = shared
    response = client.post("/v1/jobs", content=content, headers=JSON)
    assert "line 1 column" in problem(response, 400, "malformed_request")["detail"]


@pytest.mark.parametrize("content", [b"[]", b"1", b"null", b'"job"'])
def test_json_that_is_no_object_is_invalid(shared: tuple[Api, httpx2.Client], content: bytes):
    _, client = shared
    assert pointers(client.post("/v1/jobs", content=content, headers=JSON)) == [""]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_a_body_that_does_not_claim_to_be_json_is_refused(shared: tuple[Api, httpx2.Client], content_type: str | None):
    _, client = shared
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = client.post("/v1/jobs", content=json.dumps(JOB).encode(), headers=headers)
    assert response.request.headers.get("content-type") == content_type
    problem(response, 415, "unsupported_media_type")


def _raw(api: Api, client: httpx2.Client, head: str, chunks: int, chunk: bytes) -> tuple[bytes, int]:
    """Send a request by hand, as much of it as the server takes; the answer, and the chunks sent."""
    url = urlsplit(api.url)
    with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
        connection.sendall(
            f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
            f"Content-Type: application/json\r\n{head}\r\n\r\n".encode()
        )
        sent = 0
        try:
            for _ in range(chunks):
                connection.sendall(chunk)
                sent += 1
        except OSError:
            pass
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except OSError:
            pass
        return answer, sent


def test_a_body_of_100_mb_is_refused_before_it_was_sent(shared: tuple[Api, httpx2.Client]):
    api, client = shared
    begin = time.monotonic()
    answer, _ = _raw(api, client, "Content-Length: 100000000", 1, b"x" * 1000)
    assert time.monotonic() - begin < 5
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer
    assert b"body_too_large" in answer


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/models/any/predict"])
def test_a_whole_body_of_100_mb_gets_its_answer(shared: tuple[Api, httpx2.Client], path: str):
    _, client = shared
    problem(client.post(path, content=b" " * 100_000_000, headers=JSON), 413, "body_too_large")


def test_a_chunked_body_is_cut_off_where_it_becomes_too_large(shared: tuple[Api, httpx2.Client]):
    api, client = shared
    megabyte = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    answer, sent = _raw(api, client, "Transfer-Encoding: chunked", 100, megabyte)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer
    assert sent <= 100


def test_a_prediction_with_a_million_wrong_things_is_refused_quickly(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    many = b'{"inputs": [[[1]]]' + b"".join(b',"k%d":1' % i for i in range(1_000_000)) + b"}"
    begin = time.monotonic()
    response = client.post("/v1/models/any/predict", content=many, headers=JSON)
    assert time.monotonic() - begin < 10
    assert pointers(response) == [""]
    strings = b'{"inputs": [[[' + b'"a",' * 1_000_000 + b"1]]]}"
    assert pointers(client.post("/v1/models/any/predict", content=strings, headers=JSON)) == ["/inputs/0/0/0"]


def test_paths_and_methods_that_do_not_exist_are_problems_too(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    for path in ("/v1", "/v1/nothing", "/v1/jobs/", "/v2/jobs", "/v1/jobs/x/unknown"):
        problem(client.get(path), 404, "not_found")
    refused = client.delete("/v1/jobs")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, HEAD, POST"
    refused = client.put("/v1/models/any")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "DELETE, GET, HEAD"
    problem(client.get("/v1/jobs", headers={"Accept": "image/png"}), 406, "not_acceptable")


def test_a_sane_request_id_is_taken_over_and_another_is_replaced(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    assert client.get("/v1/me", headers={"X-Request-ID": "my-id.1"}).headers["x-request-id"] == "my-id.1"
    assert problem(client.get("/nothing", headers={"X-Request-ID": "my-id"}), 404, "not_found")["request_id"] == "my-id"
    for odd in ("x" * 65, "a b", 'a"b', "ä"):
        answered = client.get("/livez", headers={"X-Request-ID": odd.encode("utf-8")}).headers["x-request-id"]
        assert answered.startswith("req_")


def test_what_nobody_expected_is_logged_under_the_request_id_and_not_shown(
    shared: tuple[Api, httpx2.Client], monkeypatch: pytest.MonkeyPatch
):
    import logging

    from store import keys
    from store.logs import JSONLines

    _, client = shared

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JSONLines().format(record))

    handler = Kept()
    logging.getLogger("unroll").addHandler(handler)
    monkeypatch.setattr(keys, "me", broken)
    response = client.get("/v1/me")
    deadline = time.monotonic() + 5
    while not any("/v1/me 500" in line for line in lines) and time.monotonic() < deadline:
        time.sleep(0.01)  # the line of the access log is written behind the answer
    logging.getLogger("unroll").removeHandler(handler)
    document = problem(response, 500, "internal_error")
    assert document["retryable"]
    assert "secret detail" not in response.text
    logged = [json.loads(line) for line in lines]
    (failure,) = [line for line in logged if "traceback" in line]
    assert "RuntimeError: secret detail" in failure["traceback"]
    assert failure["request_id"] == document["request_id"]
    key = client.headers["authorization"].removeprefix("Bearer ")
    assert all(key not in line for line in lines)
    (access,) = [line for line in logged if line["logger"] == "unroll.access" and line["route"] == "/v1/me"]
    assert (access["route"], access["status"]) == ("/v1/me", 500)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"inputs": []}, "/inputs"),
        ({"inputs": [[]]}, "/inputs/0"),
        ({"inputs": [[[1.0]], [[1.0], []]]}, "/inputs/1/1"),
        ({"inputs": [[[1.0]], [[1.0], [1.0, 2.0]]]}, "/inputs/1/1"),
        ({"inputs": [[[1.0]], [[1.0], ["x"]]]}, "/inputs/1/1/0"),
        ({"inputs": [[1.0]]}, "/inputs/0/0"),
        ({"inputs": [[[float("nan")]]]}, "/inputs/0/0/0"),
        ({"inputs": [[[1e39]]]}, "/inputs/0/0/0"),
        ({"inputs": [[[1.0]]], "replica": 2}, "/replica"),
        ({"inputs": [[[1.0]]], "replica": -1}, "/replica"),
        ({"inputs": [[[1.0]]], "replica": "worst"}, "/replica"),
        ({"inputs": [[[1.0]]], "return": []}, "/return"),
        ({"inputs": [[[1.0]]], "return": ["logits"]}, "/return/0"),
        ({"inputs": [[[1.0]]], "returns": ["state"], "return": ["state"]}, "/returns"),
        ({"inputs": [[[1.0]]], "state": []}, "/state"),
        ({"inputs": [[[1.0]]], "state": [{"layers": []}]}, "/state/0/layers"),
        ({"inputs": [[[1.0]]], "state": [{"layers": [{"h": [1.0, 2.0]}]}]}, "/state/0/layers/0/h"),
        ({"inputs": [[[1.0]]], "state": [{"layers": [{"h": [[1.0, "x", 2.0]]}]}]}, "/state/0/layers/0/h/0/1"),
        ({"inputs": [[[1.0]]], "state": [{"layers": [{"h": 1}]}]}, "/state/0/layers/0/h"),
    ],
)
def test_each_wrong_part_of_a_prediction_is_named(
    checkpoint: tuple[httpx2.Client, str], body: dict[str, Any], pointer: str
):
    client, checkpoint_id = checkpoint
    response = client.post(f"/v1/checkpoints/{checkpoint_id}/predict", content=json.dumps(body), headers=JSON)
    assert pointers(response) == [pointer]


@pytest.fixture(scope="module")
def checkpoint(shared: tuple[Api, httpx2.Client]) -> Iterator[tuple[httpx2.Client, str]]:
    api, _ = shared
    with api.client(tenant="trained") as client:
        yield client, trained(api, client)["summary"]["last_checkpoint"]
