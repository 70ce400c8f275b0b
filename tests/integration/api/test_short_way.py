"""Plain predictions on the short way: the same answers as on the ordinary way, and never for longer than is allowed."""

from __future__ import annotations

import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import numpy as np
import pytest
from safetensors.numpy import save

from api.inference import Target
from api.negotiation import SAFETENSORS
from api.short_way import protocol
from api.short_way.known import Head, Known, changes_answers
from rnn.serving.predictor import Predictor
from store import keys
from store.keys import Identity
from tests.integration.api.serving import JOB, Api, problem, trained, weights
from unroll.contract import Network

NET: dict[str, Any] = {"name": "net", "config": JOB["model"]}
OF_NET = JOB | {"model": "net"}
PLAIN = {"inputs": [[[0.5], [-1.0]], [[2.0]]]}
COUNTED = re.compile(r"^unroll_predict_batch_size_sum (\S+)$", re.MULTILINE)


class Line:
    """One connection, on which a test decides what is sent when."""

    def __init__(self, api: Api, path: str, key: str) -> None:
        host, port = api.url.removeprefix("http://").split(":")
        self.path, self.key = path, key
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def request(self, body: bytes, *headers: str, media_type: str = "application/json") -> bytes:
        """The bytes of one request. A header of its own sends it the ordinary way."""
        lines = [
            f"POST {self.path} HTTP/1.1",
            "host: here",
            f"authorization: Bearer {self.key}",
            f"content-type: {media_type}",
            f"content-length: {len(body)}",
            *headers,
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        while b"\r\n\r\n" not in self.received:
            self._more()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        while len(self.received) < length:
            self._more()
        body, self.received = self.received[:length], self.received[length:]
        return int(first.split()[1]), headers, body

    def _more(self) -> None:
        more = self.socket.recv(1 << 16)
        assert more, "the server closed the connection"
        self.received += more

    def ask(
        self, body: bytes, *headers: str, media_type: str = "application/json"
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request and read its answer."""
        self.send(self.request(body, *headers, media_type=media_type))
        return self.answer()


@contextmanager
def line(api: Api, path: str, key: str) -> Iterator[Line]:
    made = Line(api, path, key)
    try:
        yield made
    finally:
        made.socket.close()


def short(client: httpx2.Client) -> int:
    """How many requests the short way has answered."""
    found = COUNTED.search(client.get("/metrics").text)
    assert found is not None
    return int(float(found[1]))


@pytest.fixture
def served(api: Api, client: httpx2.Client) -> str:
    """The path of a model's predictions."""
    client.post("/v1/models", json=NET)
    trained(api, client, OF_NET)
    return "/v1/models/net/predict"


def bodies(count: int) -> Iterator[bytes]:
    """Valid and broken bodies, in every spelling that JSON allows and some that it does not."""
    chance = random.Random(5)
    words = [
        "1",
        "-0",
        "0.1",
        "1e3",
        "2.5E-3",
        "12345678.12345678",
        "0.30000000000000004",
        "1e-320",
        "12345678901234567",
    ]
    wrong = ["01", "1.", "NaN", "-", "1e999", "1e39", "true", '"1"', "null", "[1]", "", "Infinity", "+1", "0x1"]
    replicas = ["0", "1", "2", "-1", "-0", "1.0", "01", "null", '"best"', '"all"', '"BEST"']
    returns = ["[]", '["outputs"]', '["state"]', '["outputs","outputs"]', '"outputs"']

    def space() -> str:
        return chance.choice(["", "", "", " ", "\n", "\t "])

    def number() -> str:
        if chance.random() < 0.4:
            return repr(chance.gauss(0, 10))
        return chance.choice(wrong if chance.random() < 0.02 else words)

    def step() -> str:
        width = 1 if chance.random() < 0.97 else chance.choice([0, 2])
        return f"{space()}[{space()}{','.join(number() for _ in range(width))}{space()}]"

    def sequence() -> str:
        return f"[{','.join(step() for _ in range(chance.choice([1, 1, 2, 7, 40]) - (chance.random() < 0.01)))}]"

    for _ in range(count):
        fields = [f'"inputs"{space()}:{space()}[{",".join(sequence() for _ in range(chance.choice([1, 1, 2, 5])))}]']
        if chance.random() < 0.4:
            fields.append(f'"replica":{chance.choice(replicas)}')
        if chance.random() < 0.4:
            fields.append(f'"return":{chance.choice(returns)}')
        if chance.random() < 0.05:
            fields.append(chance.choice(['"state":null', '"steps":null', '"steps":3', '"wrong":1', fields[0]]))
        chance.shuffle(fields)
        text = "{" + ",".join(fields) + "}" + chance.choice(["", "", "\n", " x"] if chance.random() < 0.1 else [""])
        if chance.random() < 0.05:
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(["", "\\", "é", "\x00", "]"]) + text[at + 1 :]
        yield text.encode()


def tensor_bodies(count: int) -> Iterator[bytes]:
    """Valid and broken safetensors."""
    chance = np.random.default_rng(7)
    for i in range(count):
        N, T, width = chance.integers(1, 6), chance.integers(1, 30), 2 if i % 10 == 3 else 1
        x = chance.standard_normal((N, T, width)).astype([np.float32, np.float64, np.float16, np.int64][i % 7 % 4])
        if i % 11 == 5:
            x = x.astype(np.float64)
            x[0, 0, 0] = [np.nan, np.inf, 1e300][i % 3]
        tensors: dict[str, Any] = {"inputs": x[0] if i % 13 == 6 else x}
        about: dict[str, str] | None = None
        if i % 9 == 4:
            about = {"format": "np"} if i % 2 else {"replica": ["0", "all", "9", "-1", "one"][i % 5]}
        if i % 12 == 7:
            tensors["lengths"] = chance.integers(1, T + (i % 2), N, endpoint=True)
        if i % 17 == 8:
            tensors["wrong"] = x
        body = bytearray(save(tensors, about))
        if i % 8 == 2:  # lies
            body[chance.integers(len(body) if i % 16 == 2 else 80)] = chance.integers(256)
        yield bytes(body[: -1 - i % 3] if i % 15 == 9 else body)


def same(found: tuple[int, dict[str, str], bytes], expected: tuple[int, dict[str, str], bytes], body: bytes) -> bool:
    """Whether both ways answered, after checking that they said the same."""
    assert found[0] == expected[0], (body, found, expected)
    assert list(found[1]) == list(expected[1])
    for name in found[1].keys() - {"x-request-id", "date", "content-length"}:
        assert found[1][name] == expected[1][name]
    if found[0] == 200:
        assert found[2] == expected[2]
        return True
    documents = [json.loads(answer[2]) | {"request_id": ""} for answer in (found, expected)]
    assert documents[0] == documents[1]
    return False


def test_both_ways_give_the_same_status_headers_problem_and_bits(api: Api, client: httpx2.Client, served: str):
    before, good = short(client), 0
    with line(api, served, api.key()) as plain, line(api, served, api.key()) as ordinary:
        for body in bodies(400):
            good += same(plain.ask(body), ordinary.ask(body, "x-other: 1"), body)
    assert good > 100  # of the bodies are right
    assert short(client) - before > 30  # of them on the short way


@pytest.mark.parametrize("accept", ["*/*", "application/json", SAFETENSORS])
def test_both_ways_give_the_same_for_tensors(api: Api, client: httpx2.Client, served: str, accept: str):
    before, good = short(client), 0
    with line(api, served, api.key()) as plain, line(api, served, api.key()) as ordinary:
        for body in tensor_bodies(60):
            found = plain.ask(body, f"accept: {accept}", media_type=SAFETENSORS)
            expected = ordinary.ask(body, f"accept: {accept}", "x-other: 1", media_type=SAFETENSORS)
            good += same(found, expected, body)
            if found[0] == 200:
                assert found[1]["content-type"] == (SAFETENSORS if accept == "*/*" else accept)
        uneven = json.dumps({"inputs": [[[0.5]] * 3000, *[[[0.5]]] * 3000]}).encode()  # fill up a million numbers
        for body in [*bodies(12), *[uneven] * 2]:  # JSON whose answer may be tensors
            found = plain.ask(body, f"accept: {accept}")
            good += same(found, ordinary.ask(body, f"accept: {accept}", "x-other: 1"), body)
    assert good > 20
    assert short(client) - before > 12


def test_a_known_head_of_tensors_does_no_step_of_a_session(api: Api, client: httpx2.Client, served: str):
    session = client.post("/v1/sessions", json={"model": "net"}).json()
    steps = f"/v1/sessions/{session['id']}/step"
    with line(api, served, api.key()) as mine:
        body = save({"inputs": np.ones((1, 1, 1), np.float32)})
        assert [mine.ask(body, media_type=SAFETENSORS)[0] for _ in range(2)] == [200, 200]
        mine.path = steps
        assert mine.ask(b'{"inputs":[[[1.0]]]}', media_type=SAFETENSORS)[0] == 415
        assert mine.ask(b'{"inputs":[[[1.0]]]}')[0] == 200


def test_a_key_that_was_revoked_here_is_refused_at_once(api: Api, client: httpx2.Client, served: str):
    secret = api.key("predict")
    key_id = next(key["id"] for key in client.get("/v1/keys").json()["data"] if key["scopes"] == ["predict"])
    with line(api, served, secret) as mine:
        body = json.dumps(PLAIN).encode()
        before = short(client)
        assert [mine.ask(body)[0] for _ in range(3)] == [200, 200, 200]
        assert short(client) - before == 2
        assert client.delete(f"/v1/keys/{key_id}").status_code == 204
        assert mine.ask(body)[0] == 401


def test_a_key_that_another_process_revoked_is_refused_within_a_second(api: Api, client: httpx2.Client, served: str):
    secret = api.key("predict")
    key_id = next(key["id"] for key in client.get("/v1/keys").json()["data"] if key["scopes"] == ["predict"])
    with line(api, served, secret) as mine:
        body = json.dumps(PLAIN).encode()
        mine.ask(body)
        keys.remove(api.db, "ours", key_id)
        revoked = time.monotonic()
        while mine.ask(body)[0] == 200:
            assert time.monotonic() - revoked < 2.0  # a second, and what a busy machine adds to a request
        assert short(client) > 0


def test_a_key_that_expires_is_refused_when_it_does():
    known = Known()
    known.learn(_head(known), Identity("key", "ours", frozenset(), seconds_left=0.05), ("/path", _target()))
    assert known.sender(b"head") is not None
    time.sleep(0.06)
    assert known.sender(b"head") is None


def test_what_a_request_found_before_a_change_is_not_remembered_after_it():
    known = Known()
    head = _head(known)
    known.forget()
    known.learn(head, Identity("key", "ours", frozenset()), ("/path", _target()))
    assert known.sender(b"head") is None
    assert known.target("ours", b"/path") is None


def test_one_request_asks_again_while_the_others_are_answered():
    known = Known()
    known.learn(_head(known, 0.6), Identity("key", "ours", frozenset()), ("/path", _target()))
    assert [known.sender(b"head") is None for _ in range(3)] == [True, False, False]
    assert [known.target("ours", b"/path") is None for _ in range(3)] == [True, False, False]
    assert known.target("theirs", b"/path") is None
    known.learn(_head(known, 1.1), Identity("key", "ours", frozenset()), ("/path", _target()))
    assert known.sender(b"head") is None


@pytest.mark.parametrize(
    ("method", "path", "changes"),
    [
        ("POST", "/v1/models/net/predict", False),
        ("GET", "/v1/keys", False),
        ("DELETE", "/v1/keys/key_1", True),
        ("PATCH", "/v1/keys/key_1", True),
        ("PUT", "/v1/models/net/serving", True),
        ("DELETE", "/v1/jobs/job_1", True),
        ("POST", "/v1/jobs", False),
    ],
)
def test_requests_that_may_change_answers_are_known(method: str, path: str, changes: object):
    assert changes_answers(method, path) is changes


def test_a_pin_moves_what_answers_at_once(api: Api, client: httpx2.Client, served: str):
    other = trained(api, client, OF_NET | {"seed": 7})["summary"]["last_checkpoint"]
    with line(api, served, api.key()) as mine:
        body = json.dumps(PLAIN).encode()
        for _ in range(3):
            first = json.loads(mine.ask(body)[2])
        pinned = client.get("/v1/checkpoints/" + first["checkpoint"]).json()["id"]
        for checkpoint, replica in ((other, 0), (pinned, 1), (other, 1)):
            client.put("/v1/models/net/serving", json={"checkpoint": checkpoint, "replica": replica})
            found = json.loads(mine.ask(body)[2])
            assert (found["checkpoint"], found["replica"]) == (checkpoint, replica)


def test_tenants_do_not_answer_for_one_another(api: Api, stranger: httpx2.Client, served: str):
    with line(api, served, api.key()) as mine, line(api, served, api.key(tenant="theirs")) as theirs:
        body = json.dumps(PLAIN).encode()
        for _ in range(3):
            assert (mine.ask(body)[0], theirs.ask(body)[0]) == (200, 404)
    problem(stranger.post(served, json=PLAIN), 404, "not_found")


def test_a_body_may_come_in_pieces_late_or_not_at_all(api: Api, client: httpx2.Client, served: str, monkeypatch: Any):
    monkeypatch.setattr(protocol, "BODY_SECONDS", 0.05)
    body = json.dumps(PLAIN).encode()
    with line(api, served, api.key()) as mine:
        raw = mine.request(body)
        expected = mine.ask(body)[2]
        for cuts in ([20], [len(raw) - len(body)], [len(raw) - 3], [len(raw) - 10, len(raw) - 5]):
            for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True):
                mine.send(raw[a:b])
                time.sleep(0.005)
            assert mine.answer()[2] == expected
        mine.send(raw[:-5])
        time.sleep(0.2)  # beyond the wait: it went the ordinary way
        mine.send(raw[-5:])
        assert mine.answer()[2] == expected
        mine.send(raw[:-5])
    assert client.get("/livez").status_code == 200


def test_requests_one_behind_the_other_are_answered_in_order(api: Api, served: str):
    with line(api, served, api.key()) as mine:
        one, other = (json.dumps({"inputs": [[[x]]]}).encode() for x in (1.0, 2.0))
        wrong = b'{"inputs": [[["a"]]]}'
        alone = [mine.ask(body) for body in (one, other, wrong)]
        mine.send(mine.request(one) + mine.request(other))
        assert [mine.answer()[2] for _ in range(2)] == [alone[0][2], alone[1][2]]
        for body in (one, wrong, other, one, other, wrong, one):
            mine.send(mine.request(body))
            time.sleep(0.001)
        statuses = [mine.answer()[0] for _ in range(7)]
        assert statuses == [200, 422, 200, 200, 200, 422, 200]


def test_ragged_requests_at_once_give_the_bits_that_each_gives_alone(api: Api, client: httpx2.Client, served: str):
    chance = np.random.default_rng(0)
    sent = [json.dumps({"inputs": [chance.standard_normal((int(n), 1)).tolist()]}).encode() for n in range(1, 25)]
    secret = api.key()
    with line(api, served, secret) as mine:
        alone = [mine.ask(body, "x-other: 1")[2] for body in sent]
        mine.ask(sent[0])
        before = short(client)
        wrong: list[int] = []

        def ask(first: int) -> None:
            with line(api, served, secret) as own:
                order = [*range(first, len(sent)), *range(first)] * 3
                wrong.extend(i for i in order if own.ask(sent[i])[2] != alone[i])

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(0, 24, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert short(client) - before > 400


def test_every_answer_is_counted_and_logged(
    api: Api, client: httpx2.Client, served: str, caplog: pytest.LogCaptureFixture
):
    counter = 'unroll_http_requests_total{method="POST",route="/v1/models/{name}/predict",status="200"}'

    def counted() -> float:
        found = [row for row in client.get("/metrics").text.splitlines() if row.startswith(counter)]
        return float(found[0].split()[-1]) if found else 0.0

    with line(api, served, api.key()) as mine, caplog.at_level("INFO", "unroll.access"):
        before = counted()
        answers = [mine.ask(json.dumps(PLAIN).encode()) for _ in range(3)]
        assert counted() - before == 3
    logged = {record.__dict__["request_id"]: record for record in caplog.records if record.name == "unroll.access"}
    for _, headers, _ in answers:
        record = logged[headers["x-request-id"]]
        assert record.getMessage() == "POST /v1/models/net/predict 200"
        assert record.__dict__["key"].startswith("key_")


def _target() -> Target:
    network = Network.model_validate(JOB["model"])
    return Target(Predictor(weights(network, 2)), 0, "ckpt", None)


def _head(known: Known, age: float = 0.0) -> Head:
    return Head(b"head", known.generation, time.monotonic() - age)
