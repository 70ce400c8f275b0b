"""All requests in flight share one budget of memory, and nothing of it is lost, however a request ends."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest

from api import memory
from api.memory import Budget, Held, parsed_bytes
from rnn.serving.predictor import Predictor
from store import schema
from store.settings import Settings
from tests.integration.api.serving import Api, problem, serving, trained, weights
from unroll.contract import Network, PredictRequest

MOST = 16_000_000
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def budgets() -> list[Budget]:
    """Every budget that a server was started with."""
    return []


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, budgets: list[Budget]
) -> Iterator[tuple[Api, httpx2.Client, str, Budget]]:
    """A server whose requests share 16 MB, a client, and the path of a prediction."""
    made = pytest.MonkeyPatch()

    class Kept(Budget):
        def __init__(self, most: int) -> None:
            super().__init__(most)
            budgets.append(self)

    made.setattr("api.app.Budget", Kept)
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), secret="x", max_held_bytes=MOST)  # type: ignore[arg-type]
    schema.migrate(settings)
    with serving(settings) as api, api.client() as client:
        job = trained(api, client)
        yield api, client, f"/v1/checkpoints/{job['summary']['last_checkpoint']}/predict", budgets[-1]
    made.undo()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def opened(api: Api, client: httpx2.Client, path: str, headers: str, body: bytes) -> socket.socket:
    """A connection on which a part of a body was sent."""
    url = urlsplit(api.url)
    connection = socket.create_connection((url.hostname, url.port), timeout=20)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
    connection.sendall(f"{head}Content-Type: application/json\r\n{headers}\r\n\r\n".encode() + body)
    return connection


def test_bodies_that_are_held_open_add_up_to_the_budget_and_the_next_is_told_to_come_back(
    small: tuple[Api, httpx2.Client, str, Budget],
):
    api, client, path, budget = small
    one = opened(api, client, path, "Content-Length: 15000000", b" ")
    until(lambda: budget.taken == 15_000_000)  # what is declared is reserved before it arrives
    refused = client.post(path, content=b" " * 2_000_000, headers=JSON)
    assert problem(refused, 503, "busy")["retryable"]
    assert int(refused.headers["retry-after"]) > 0
    assert client.get("/v1/me").status_code == 200  # who needs little is served
    one.close()
    until(lambda: budget.taken == 0)
    assert client.post(path, json={"inputs": [[[0.5]]]}).status_code == 200
    until(lambda: budget.taken == 0)


def test_a_body_of_unknown_length_is_reserved_as_it_grows(small: tuple[Api, httpx2.Client, str, Budget]):
    api, client, path, budget = small
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    one = opened(api, client, path, "Transfer-Encoding: chunked", 8 * chunk)
    until(lambda: budget.taken >= 8 << 20)
    assert budget.taken < 9 << 20
    other = opened(api, client, path, "Transfer-Encoding: chunked", 12 * chunk)
    assert other.recv(100).startswith(b"HTTP/1.1 503")
    other.close()
    one.close()
    until(lambda: budget.taken == 0)


def test_what_a_gzip_becomes_is_reserved_too(small: tuple[Api, httpx2.Client, str, Budget]):
    api, client, path, budget = small
    one = opened(api, client, path, "Content-Length: 10000000", b" ")
    until(lambda: budget.taken == 10_000_000)
    bomb = gzip.compress(b" " * 20_000_000)
    assert len(bomb) < 100_000
    problem(client.post(path, content=bomb, headers=JSON | {"Content-Encoding": "gzip"}), 503, "busy")
    one.close()
    until(lambda: budget.taken == 0)


def test_nobody_without_a_key_reserves_anything(small: tuple[Api, httpx2.Client, str, Budget]):
    api, _, path, budget = small
    with httpx2.Client(base_url=api.url, verify=False, trust_env=False) as nobody:
        nobody.headers["authorization"] = "Bearer unroll_no_key"
        one = opened(api, nobody, path, "Content-Length: 15000000", b" ")
        assert one.recv(100).startswith(b"HTTP/1.1 401")
        one.close()
    assert budget.taken == 0


def test_refusals_and_crashes_give_back_what_they_held(
    small: tuple[Api, httpx2.Client, str, Budget], monkeypatch: pytest.MonkeyPatch
):
    _, client, path, budget = small
    for content in (b"{", b'{"inputs": 1}', json.dumps({"inputs": [[[0.5, 0.5]]]}).encode()):
        assert client.post(path, content=content, headers=JSON).status_code in {400, 422}
    monkeypatch.setattr("api.inference.predict", lambda *_, **__: 1 / 0)
    ordinary = {"x-other": "1"}  # not the short way, which an earlier request may have opened
    assert client.post(path, json={"inputs": [[[0.5]]]}, headers=ordinary).status_code == 500
    until(lambda: budget.taken == 0)


def test_a_crowd_stays_within_the_budget_and_everyone_is_served_in_the_end(
    small: tuple[Api, httpx2.Client, str, Budget],
):
    api, _, path, budget = small
    content = json.dumps({"inputs": np.zeros((20, 500, 1)).tolist()}).encode()
    statuses: list[int] = []
    highest = 0
    headers = {"Authorization": f"Bearer {api.key()}"}

    def predict() -> None:
        with httpx2.Client(base_url=api.url, headers=headers, timeout=30, trust_env=False, verify=False) as own:
            while True:
                response = own.post(path, content=content, headers=JSON)
                statuses.append(response.status_code)
                if response.status_code == 200:
                    return
                problem(response, 503, "busy")
                time.sleep(0.02)

    crowd = [threading.Thread(target=predict) for _ in range(20)]
    for one in crowd:
        one.start()
    while any(one.is_alive() for one in crowd):
        highest = max(highest, budget.taken)
        time.sleep(0.001)
    assert statuses.count(200) == 20
    assert set(statuses) <= {200, 503}
    assert highest <= MOST
    until(lambda: budget.taken == 0)


def test_a_request_that_is_alone_is_never_refused_for_memory():
    budget = Budget(100)
    one, other = Held(budget), Held(budget)
    one.take(80)
    one.take(80)  # its own limits hold for it
    with pytest.raises(memory.Refused):
        other.take(1)
    one.give_back()
    other.take(1)
    with pytest.raises(memory.Refused):
        one.take(100)
    other.give_back()
    one.give_back()
    assert budget.taken == 0


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": np.full((20, 500, 1), 0.5).tolist()},
        {"inputs": np.full((2, 50, 100), 0.5).tolist()},
        {"inputs": [[[0.5]]] * 5_000},
        {"inputs": [[[1.0]]] * 500, "state": [{"layers": [{"h": [0.5] * 10}]}] * 500},
    ],
    ids=["steps", "wide", "sequences", "states"],
)
def test_what_a_document_takes_as_objects_is_about_what_is_reserved_for_it(body: dict[str, Any]):
    content = json.dumps(body).encode()
    PredictRequest.model_validate_json(b'{"inputs": [[[1]]]}')
    tracemalloc.start()
    kept = PredictRequest.model_validate_json(content)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept.inputs
    assert 0.4 * parsed_bytes(content) < taken < 1.1 * parsed_bytes(content)


@pytest.mark.parametrize(
    ("cell", "shape", "returns", "replica"),
    [
        ({"type": "vanilla", "hidden_size": 8}, (64, 500, 1), ["outputs"], 0),
        ({"type": "lstm", "hidden_size": 64}, (64, 50, 1), ["outputs", "hidden"], "all"),
        ({"type": "gru", "hidden_size": 64}, (8, 400, 4), ["outputs", "state"], 0),
        ({"type": "lstm", "hidden_size": 256}, (1, 300, 1), ["hidden"], "all"),
    ],
)
def test_what_a_prediction_takes_is_about_what_is_reserved_for_it(
    cell: dict[str, Any], shape: tuple[int, int, int], returns: Any, replica: Any
):
    network = Network.model_validate({"cell": cell, "input_size": shape[2], "output_size": 2})
    predictor = Predictor(weights(network, 2))
    inputs, reserved = np.zeros(shape).tolist(), []
    predictor.predict([[[0.0] * shape[2]]], None, replica, returns)
    tracemalloc.start()
    predictor.predict(inputs, None, replica, returns, reserve=reserved.append)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.3 * reserved[0] < taken < 1.2 * reserved[0]


def test_the_budget_is_a_part_of_the_machines_memory_unless_it_is_set(tmp_path: Path):
    assert Settings(data_dir=tmp_path).held_bytes >= 512 * 1024 * 1024
    assert Settings(data_dir=tmp_path, max_held_bytes=5).held_bytes == 5
