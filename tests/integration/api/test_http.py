"""The edges of HTTP: HEAD, compressed bodies, long lines, clients that leave, and names that stand twice."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
import pytest

from api import openapi
from tests.integration.api.serving import JOB, Api, checkpoint, claim, problem
from unroll.contract.repeated import repeated_name

JSON = {"Content-Type": "application/json"}
DOCUMENT = json.loads(openapi.FILE.read_text(encoding="utf-8"))
GETS = [path for path, operations in DOCUMENT["paths"].items() if "get" in operations]
CHANGING = {"x-request-id", "date", "transfer-encoding"}


@pytest.fixture(scope="module")
def names(shared: tuple[Api, httpx2.Client]) -> dict[str, str]:
    """Values for all parts of paths."""
    api, client = shared
    client.post("/v1/models", json={"name": "parity", "config": JOB["model"]})
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    checkpoint(claim(api), 10, (0.5, 0.2))
    checkpoint_id = client.get(f"/v1/jobs/{job}/checkpoints").json()["data"][0]["id"]
    return {
        "job_id": job,
        "checkpoint_id": checkpoint_id,
        "session_id": client.post("/v1/sessions", json={"checkpoint": checkpoint_id}).json()["id"],
        "key_id": client.get("/v1/me").json()["key"]["id"],
        "name": "parity",
        "kind": "train",
    }


@pytest.mark.parametrize("path", [*GETS, "/docs", "/openapi.json", "/docs/assets/swagger-ui.css", "/v1/nothing"])
def test_head_is_get_without_a_body(shared: tuple[Api, httpx2.Client], names: dict[str, str], path: str):
    _, client = shared
    where = path.format_map(names)
    get, head = client.get(where), client.head(where)
    assert head.status_code == get.status_code
    assert head.content == b""
    counts = {"/metrics", "/v1/me", "/v1/keys", "/v1/keys/{key_id}"}  # these change with every request
    changing = CHANGING | ({"content-length"} if path in counts else set())
    assert {k: v for k, v in head.headers.items() if k not in changing} == {
        k: v for k, v in get.headers.items() if k not in changing
    }
    assert client.head(where).status_code == get.status_code  # the connection is still in order


def test_head_of_a_stream_ends_with_its_headers(shared: tuple[Api, httpx2.Client], names: dict[str, str]):
    _, client = shared
    path = f"/v1/jobs/{names['job_id']}"
    begin = time.monotonic()
    response = client.head(f"{path}/events", headers={"Accept": "text/event-stream"})
    assert time.monotonic() - begin < 10
    assert response.headers["content-type"].startswith("text/event-stream")
    assert client.head(f"{path}/metrics?format=csv").headers["content-type"].startswith("text/csv")


def test_head_of_weights_does_not_read_them(
    shared: tuple[Api, httpx2.Client], names: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    _, client = shared
    path = f"/v1/checkpoints/{names['checkpoint_id']}/content"
    whole = client.get(path)
    monkeypatch.setattr("store.checkpoints.content", lambda *_: pytest.fail("the weights were read"))
    head = client.head(path)
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.headers["etag"] == whole.headers["etag"]


def test_head_where_there_is_no_get_is_refused(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    response = client.head("/v1/checks")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


def test_a_body_may_come_as_gzip(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    for content in (json.dumps(JOB).encode(), json.dumps(JOB | {"labels": {"a": "b"}}, indent=8).encode()):
        response = client.post(
            "/v1/jobs?dry_run=true", content=gzip.compress(content), headers=JSON | {"Content-Encoding": "gzip"}
        )
        assert response.status_code == 200
        assert response.json() == client.post("/v1/jobs?dry_run=true", content=content, headers=JSON).json()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"more", zlib.compress(b"{}")],
    ids=["empty", "not compressed", "cut", "longer", "zlib"],
)
def test_a_gzip_that_is_none_is_malformed(shared: tuple[Api, httpx2.Client], content: bytes):
    _, client = shared
    response = client.post("/v1/jobs", content=content, headers=JSON | {"Content-Encoding": "gzip"})
    assert "gzip" in problem(response, 400, "malformed_request")["detail"]


def test_other_encodings_are_refused_and_the_known_one_is_named(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    response = client.post("/v1/jobs", content=b"{}", headers=JSON | {"Content-Encoding": "br"})
    assert "gzip" in problem(response, 415, "unsupported_media_type")["detail"]
    assert "gzip" in response.headers["accept-encoding"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/models/any/predict"])
def test_a_small_gzip_that_becomes_large_is_stopped_early(shared: tuple[Api, httpx2.Client], path: str):
    _, client = shared
    bomb = gzip.compress(b" " * 50_000_000, 1)
    assert len(bomb) < 300_000
    begin = time.process_time()
    problem(client.post(path, content=bomb, headers=JSON | {"Content-Encoding": "gzip"}), 413, "body_too_large")
    assert time.process_time() - begin < 1


def raw(api: Api, request: bytes) -> bytes:
    """The whole answer to what is sent by hand."""
    url = urlsplit(api.url)
    with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


@pytest.mark.parametrize("size", [40_000, 70_000, 900_000])
def test_a_url_that_is_too_long_is_told_so(shared: tuple[Api, httpx2.Client], size: int):
    api, _ = shared
    answer = raw(api, b"GET /v1/jobs?name=" + b"x" * size + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 414 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "uri_too_long"


def test_a_url_at_the_limit_is_read(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    assert client.get("/v1/jobs?name=" + "x" * 30_000).status_code == 200


@pytest.mark.parametrize("size", [120_000, 900_000])
def test_headers_that_are_too_large_are_told_so(shared: tuple[Api, httpx2.Client], size: int):
    api, _ = shared
    answer = raw(api, b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"x" * size + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"headers_too_large"' in answer


def test_an_endless_line_is_cut_off(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    url, sent = urlsplit(api.url), 0
    with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
        connection.sendall(b"GET /")
        with suppress(OSError):  # reset, or a broken pipe
            while sent < 200_000_000:
                sent += connection.send(b"x" * 1_000_000)
    assert sent < 100_000_000


def test_what_is_no_http_gets_a_problem(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    answer = raw(api, b"nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"malformed_request"' in answer


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """What the API logs."""
    lines: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record)

    handler = Kept()
    logging.getLogger("unroll").addHandler(handler)
    yield lines
    logging.getLogger("unroll").removeHandler(handler)


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure(
    shared: tuple[Api, httpx2.Client], logged: list[logging.LogRecord]
):
    api, client = shared
    url = urlsplit(api.url)
    with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
        connection.sendall(
            f"POST /v1/checks HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{".encode()
        )
        time.sleep(0.1)
    deadline = time.monotonic() + 20
    while not (seen := [line for line in logged if line.name == "unroll.access"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [line.levelname for line in logged] == ["INFO"]
    assert (seen[0].status, seen[0].route) == (499, "/v1/checks")  # type: ignore[attr-defined]
    counted = [line for line in client.get("/metrics").text.splitlines() if 'route="/v1/checks"' in line]
    assert any('status="499"' in line for line in counted)
    assert not any('status="5' in line for line in counted)


TWICE: list[tuple[str, str]] = [
    ('{"inputs": [], "inputs": [[[1.0]]]}', "inputs"),
    ('{"a": {"lr": 1, "b": [{"lr": 2}, {"lr": 3}], "lr": 4}}', "lr"),
    ('{"a": 1, "\\u0061": 2}', "a"),
    ('[{"x": 1}, {"x": {}, "x": {}}]', "x"),
    ('{"q\\"": 1, "r": "}{", "q\\"": 2}', 'q"'),
    ('{"": 1, "": 2}', ""),
]


@pytest.mark.parametrize(("text", "name"), TWICE)
def test_a_name_that_stands_twice_in_a_body_is_named(shared: tuple[Api, httpx2.Client], text: str, name: str):
    _, client = shared
    for path in ("/v1/jobs", "/v1/models", "/v1/checks", "/v1/keys", "/v1/models/any/predict"):
        detail = problem(client.post(path, content=text, headers=JSON), 400, "malformed_request")["detail"]
        assert repr(name) in detail
        assert "line 1 column" in detail


def test_a_valid_job_with_a_name_twice_is_refused_and_not_stored(shared: tuple[Api, httpx2.Client]):
    api, client = shared
    before = api.count()
    text = json.dumps(JOB).replace('"steps": 100', '"steps": 100, "steps": 200')
    detail = problem(client.post("/v1/jobs", content=text, headers=JSON), 400, "malformed_request")["detail"]
    assert "'steps' stands twice" in detail
    assert "in 'training'" in detail
    assert api.count() == before


def test_a_name_that_stands_twice_in_a_query_parameter_is_named(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    response = client.get("/v1/tasks/parity?parameters=" + quote('{"length": 5, "length": 6}'))
    assert "?parameters: The name 'length'" in problem(response, 400, "malformed_request")["detail"]


@pytest.mark.parametrize(
    "text", ['{"a": "b", "b": "a", "c": ["a", "a"], "d": {"a": {"a": 1}}}', '["a", "a"]', '"\\"a\\":"', "[]", "1"]
)
def test_names_that_stand_once_are_fine(text: str):
    assert repeated_name(text) is None
    assert repeated_name(text.encode()) is None


def test_names_are_looked_through_quickly():
    numbers = json.dumps({"inputs": [[[0.123456789] for _ in range(1_000)]] * 500})
    names: Any = {f"k{i}": {} for i in range(20_000)}
    for text in (numbers, json.dumps(names)):
        begin = time.process_time()
        assert repeated_name(text) is None
        assert time.process_time() - begin < 0.5


@pytest.mark.parametrize("text", ['{"a": 1}' + " " * 2_000_000, "[" + "1," * 1_000_000 + "1]", "1" * 2_000_000])
def test_names_are_looked_for_once_however_long_what_follows_them_is(text: str):
    begin = time.process_time()
    assert repeated_name(text) is None
    assert time.process_time() - begin < 2  # milliseconds; searched again from each character it took minutes
