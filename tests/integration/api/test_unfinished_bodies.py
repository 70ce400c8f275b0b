"""Requests that do not arrive: they have a time limit."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import pytest

from store import schema
from store.settings import Settings
from tests.integration.api.serving import JOB, Api, serving

SECONDS = 1.0
UNFINISHED = b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("data")
    settings = Settings(data_dir=folder, secret="the tests' secret", body_seconds=SECONDS)  # type: ignore[arg-type]
    schema.migrate(settings)
    with serving(settings) as running:
        yield running


def answer_to(api: Api, length: int, parts: Iterable[bytes], *, path: str = "/v1/models/any/predict") -> bytes:
    """What the server says to a body of which these parts arrive, one every tenth of a second, until it closes."""
    url = urlsplit(api.url)
    with socket.create_connection((url.hostname, url.port), timeout=30) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Authorization: Bearer {api.key()}\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        connection.setblocking(False)
        answer = b""
        for part in parts:
            try:
                connection.sendall(part)
                answer += connection.recv(65536)
                break
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:
                break
        connection.settimeout(30)
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
        return answer


def drip() -> Iterator[bytes]:
    for _ in range(600):
        yield b" "


@pytest.mark.parametrize("parts", [[b'{"inputs": '], drip()], ids=["it stops", "it comes byte by byte"])
def test_a_body_that_does_not_arrive_is_refused_and_its_connection_closed(impatient: Api, parts: Iterable[bytes]):
    begin = time.monotonic()
    answer = answer_to(impatient, 1_000_000, parts)
    assert time.monotonic() - begin < 25
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()
    document = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
    assert (document["code"], document["retryable"]) == ("request_timeout", True)


def test_a_long_body_over_a_slow_line_takes_its_time(impatient: Api):
    parts = [b'{"inputs": 1}' + b" " * (32 * 1024 - 13), *[b" " * 32 * 1024] * 19]
    begin = time.monotonic()
    answer = answer_to(impatient, len(parts) * 32 * 1024, parts)
    assert time.monotonic() - begin > 1.5 * SECONDS
    assert answer.startswith(b"HTTP/1.1 422")


def test_a_request_whose_body_is_there_may_wait_longer(impatient: Api):
    with impatient.client() as client:
        job = client.post("/v1/jobs", json=JOB).json()["id"]
        begin = time.monotonic()
        assert client.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=2"}).status_code == 200
        assert time.monotonic() - begin > 1.5 * SECONDS
        with client.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as response:
            lines = response.iter_lines()
            assert next(line for line in lines if line.startswith("id")) == "id: 1"
            time.sleep(1.5 * SECONDS)
            client.post(f"/v1/jobs/{job}/cancel")
            assert next(line for line in lines if line.startswith("id")) == "id: 2"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /livez HTTP/1.1\r\nX: ", b"GET /livez HTTP/1.1\r\nX: \r\n\r\nGET / HTTP/1.1\r\nX: ", UNFINISHED],
    ids=["nothing", "half a head", "half of the next head", "a body that the answer did not wait for"],
)
def test_a_connection_on_which_no_request_arrives_is_closed(impatient: Api, sent: bytes):
    url = urlsplit(impatient.url)
    with socket.create_connection((url.hostname, url.port), timeout=30) as connection:
        connection.sendall(sent)
        dripping, answer = threading.Event(), b""

        def drip() -> None:
            with contextlib.suppress(OSError):
                while sent and not dripping.wait(0.1):
                    connection.sendall(b"x")

        drips = threading.Thread(target=drip)
        drips.start()
        begin = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                answer += data
        assert time.monotonic() - begin < 25
        dripping.set()
        drips.join()
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1") == sent.count(b"\r\n\r\n")
