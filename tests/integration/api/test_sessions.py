"""Live sessions: the same bits as one long sequence, in order, durable, on any process, for one tenant."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import unroll
from api import sessions
from store import keys
from tests.integration.api.serving import JOB, Api, pointers, problem, serving, trained
from unroll.contract import Limits

NET: dict[str, Any] = {"name": "net", "config": JOB["model"]}
OF_NET = JOB | {"model": "net"}
X = np.random.default_rng(0).standard_normal((12, 1)).round(6).tolist()


@pytest.fixture(autouse=True)
def model(api: Api, client: httpx2.Client) -> str:
    client.post("/v1/models", json=NET)
    return trained(api, client, OF_NET)["summary"]["best"]["checkpoint"]


def begin(client: httpx2.Client, **fields: Any) -> str:
    """The id of a new session of the model."""
    response = client.post("/v1/sessions", json={"model": "net"} | fields)
    assert response.status_code == 201, response.text
    assert response.headers["etag"] == '"0"'
    return response.json()["id"]


def step(client: httpx2.Client, session: str, x: Any, expected: int | None = None) -> httpx2.Response:
    headers = {} if expected is None else {"If-Match": f'"{expected}"'}
    return client.post(f"/v1/sessions/{session}/step", json={"inputs": x}, headers=headers)


def whole(client: httpx2.Client, x: Any = None, **fields: Any) -> Any:
    """The outputs of a sequence at once."""
    return client.post("/v1/models/net/predict", json={"inputs": x or [X]} | fields).json()["outputs"]


def test_steps_one_by_one_give_the_bits_of_the_whole_sequence(client: httpx2.Client, model: str):
    session = begin(client)
    found = []
    for t, x in enumerate(X):
        response = step(client, session, [[x]], t)
        assert response.status_code == 200, response.text
        assert response.headers["etag"] == f'"{t + 1}"'
        answer = response.json()
        assert answer["step"] == t + 1
        assert 0 <= answer["durable_step"] <= t + 1
        found += answer["outputs"][0]
    assert found == whole(client)[0]
    shown = client.get(f"/v1/sessions/{session}").json()
    assert (shown["step"], shown["model"], shown["checkpoint"]) == (12, "net", model)


def test_several_steps_sequences_and_all_replicas_go_on_too(client: httpx2.Client):
    both = [X, [[-x[0]] for x in X]]
    session = begin(client, sequences=2, replica="all")
    first = step(client, session, [both[0][:5], both[1][:5]]).json()
    second = step(client, session, [both[0][5:], both[1][5:]], 5).json()
    expected = whole(client, both, replica="all")
    for i in range(2):
        for r in range(2):
            assert first["outputs"][i][r] + second["outputs"][i][r] == expected[i][r]


def test_a_step_that_is_sent_again_is_answered_again_and_another_one_is_refused(client: httpx2.Client):
    session = begin(client)
    first = step(client, session, [[X[0]]], 0)
    again = step(client, session, [[X[0]]], 0)
    assert (again.status_code, again.content) == (200, first.content)
    refused = step(client, session, [[X[1]]], 0)
    assert "0 steps are done, but the session has done 1" in problem(refused, 412, "step_out_of_order")["detail"]
    assert refused.headers["etag"] == '"1"'
    assert step(client, session, [[X[1]]], 1).json()["step"] == 2
    problem(step(client, session, [[X[1]]], 7), 412, "step_out_of_order")


@pytest.mark.parametrize(
    ("inputs", "pointer"),
    [
        ([[[1.0]], [[1.0]]], "/inputs"),
        ([[[1.0, 2.0]]], "/inputs/0/0"),
        ([[[1e39]]], "/inputs/0/0/0"),
        ([[]], "/inputs/0"),
        ([], "/inputs"),
        ([[["a"]]], "/inputs/0/0/0"),
    ],
)
def test_a_wrong_step_is_refused_at_its_field_and_changes_nothing(client: httpx2.Client, inputs: Any, pointer: str):
    session = begin(client)
    step(client, session, [[X[0]]])
    assert pointers(step(client, session, inputs, 1)) == [pointer]
    assert step(client, session, [X[1:]], 1).json()["outputs"][0] == whole(client)[0][1:]


def test_what_is_no_number_of_steps_is_refused(client: httpx2.Client):
    session = begin(client)
    answer = client.post(f"/v1/sessions/{session}/step", json={"inputs": [[X[0]]]}, headers={"If-Match": "one"})
    assert pointers(answer) == ["#If-Match"]


def test_the_state_can_be_read_replaced_and_copied(client: httpx2.Client):
    session = begin(client)
    step(client, session, [X[:4]])
    state = client.get(f"/v1/sessions/{session}/state")
    as_file = client.get(f"/v1/sessions/{session}/state", headers={"Accept": "application/x-safetensors"})
    assert state.headers["etag"] == '"4"'
    predicted = client.post("/v1/models/net/predict", json={"inputs": [X[:4]], "return": ["state"]}).json()["state"]
    assert state.json()["state"] == predicted
    other = client.post(f"/v1/sessions/{session}/fork").json()["id"]
    assert other != session
    expected = whole(client)[0][4:]
    assert step(client, session, [X[4:]], 4).json()["outputs"][0] == expected
    assert step(client, other, [X[4:]], 4).json()["outputs"][0] == expected
    for body in ({"json": state.json()}, {"content": as_file.content}):
        headers = {"Content-Type": "application/x-safetensors"} if "content" in body else {}
        put = client.put(f"/v1/sessions/{session}/state", headers=headers, **body)  # type: ignore[arg-type]
        assert put.status_code == 200, put.text
        assert put.json()["durable_step"] == put.json()["step"]
        assert step(client, session, [X[4:]]).json()["outputs"][0] == expected


def test_a_state_that_does_not_fit_is_refused(client: httpx2.Client):
    session = begin(client)
    path = f"/v1/sessions/{session}/state"
    assert pointers(client.put(path, json={"state": [{"layers": [{"h": [0.0]}]}]})) == ["/state/0/layers/0/h"]
    broken = client.put(path, content=b"\xff" * 40, headers={"Content-Type": "application/x-safetensors"})
    assert pointers(broken) == [""]
    assert step(client, session, [X]).json()["outputs"] == whole(client)


def test_a_new_state_is_the_networks_own_start(client: httpx2.Client):
    session = begin(client, sequences=2)
    assert client.get(f"/v1/sessions/{session}/state").json()["state"] == [{"layers": [{"h": [0.0] * 3}]}] * 2


def test_a_session_keeps_its_checkpoint_when_the_model_moves_on(client: httpx2.Client, model: str):
    session = begin(client)
    expected = whole(client)
    client.put("/v1/models/net/serving", json={"checkpoint": model, "replica": 0})
    assert whole(client) != expected
    assert step(client, session, [X]).json()["outputs"] == expected


def test_sessions_are_listed_ended_and_those_of_others_do_not_exist(client: httpx2.Client, stranger: httpx2.Client):
    ids = [begin(client) for _ in range(3)]
    assert [one["id"] for one in client.get("/v1/sessions").json()["data"]] == ids[::-1]
    assert stranger.get("/v1/sessions").json()["data"] == []
    for method, path in (("GET", ""), ("POST", "/step"), ("GET", "/state"), ("POST", "/fork"), ("DELETE", "")):
        body = {"json": {"inputs": [[X[0]]]}} if path == "/step" else {}
        problem(stranger.request(method, f"/v1/sessions/{ids[0]}{path}", **body), 404, "not_found")  # type: ignore[arg-type]
    assert client.delete(f"/v1/sessions/{ids[0]}").status_code == 204
    problem(step(client, ids[0], [[X[0]]]), 404, "not_found")
    assert step(client, ids[1], [[X[0]]]).status_code == 200


def test_a_session_expires(client: httpx2.Client):
    session = begin(client, ttl=1)
    assert step(client, session, [[X[0]]]).status_code == 200
    deadline = time.monotonic() + 20
    while (answer := step(client, session, [[X[0]]], 99)).status_code != 410:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    problem(answer, 410, "session_expired")


def test_a_key_has_a_quota_of_sessions(api: Api):
    with api.client("predict", limits=Limits(sessions=2)) as client:
        begin(client)
        first = begin(client)
        refused = problem(client.post("/v1/sessions", json={"model": "net"}), 429, "quota_exceeded")
        assert refused["limit"] == "sessions"
        assert client.get("/v1/me").json()["key_limits"]["sessions"] == {"limit": 2, "used": 2}
        client.delete(f"/v1/sessions/{first}")
        begin(client)


def test_a_session_needs_one_network_that_gives_an_output_a_step(api: Api, client: httpx2.Client, model: str):
    assert pointers(client.post("/v1/sessions", json={})) == [""]
    assert pointers(client.post("/v1/sessions", json={"model": "net", "checkpoint": model})) == [""]
    problem(client.post("/v1/sessions", json={"model": "nothing"}), 404, "not_found")
    assert pointers(client.post("/v1/sessions", json={"checkpoint": model, "replica": 9})) == ["/replica"]
    many_to_one = JOB | {"model": JOB["model"] | {"architecture": "many_to_one"}}
    checkpoint = trained(api, client, many_to_one)["summary"]["last_checkpoint"]
    assert pointers(client.post("/v1/sessions", json={"checkpoint": checkpoint})) == ["/checkpoint"]


@pytest.fixture
def second(api: Api) -> Iterator[Api]:
    """Another process of the service, with the same database."""
    with serving(api.settings) as running:
        yield running


def test_any_process_may_do_the_next_step(api: Api, second: Api, client: httpx2.Client):
    secret = api.key("predict")
    with httpx2.Client(
        base_url=second.url, headers={"Authorization": f"Bearer {secret}"}, verify=False, trust_env=False, timeout=30
    ) as there:
        session = begin(client)
        found = []
        for t, x in enumerate(X[:6]):
            answer = step((client, there)[t % 2], session, [[x]], t)
            assert answer.status_code == 200, answer.text
            found += answer.json()["outputs"][0]
        assert found == whole(client)[0][:6]
        # without a number too: it waits until the other process has saved
        assert step(there, session, [X[6:]]).json()["outputs"][0] == whole(client)[0][6:]


def test_what_was_not_durable_at_a_crash_is_asked_for_again_and_gives_the_same(
    second: Api, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
):
    with httpx2.Client(
        base_url=second.url, headers=dict(client.headers), verify=False, trust_env=False, timeout=30
    ) as there:
        session = begin(there)
        step(there, session, [X[:3]], 0)
        assert client.get(f"/v1/sessions/{session}").json()["step"] == 3  # the other one has saved; this one has it now
        monkeypatch.setattr(sessions.Sessions, "_save", _never)  # from here on nothing is saved: both have crashed
        step(client, session, [X[3:7]], 3)
        refused = step(there, session, [[X[7]]], 7)
        problem(refused, 412, "step_out_of_order")
        durable = int(json.loads(refused.headers["etag"]))
        assert durable == 3
        assert step(there, session, [X[durable:]], durable).json()["outputs"][0] == whole(client)[0][durable:]


async def _never(_: object) -> None:
    """What a crashed process saves."""


def socket(api: Api, session: str, key: str | None, **options: Any) -> Any:
    url = f"{api.url.replace('http', 'ws')}/v1/sessions/{session}/ws"
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return connect(url, additional_headers=headers, proxy=None, **options)


def test_a_socket_does_one_step_a_message(api: Api, client: httpx2.Client):
    session = begin(client)
    found = []
    with socket(api, session, api.key("predict")) as ws:
        assert json.loads(ws.recv())["step"] == 0
        for x in X[:6]:
            ws.send(json.dumps({"inputs": [[x]]}))
            found += json.loads(ws.recv())["outputs"][0]
        for x in X[6:]:
            ws.send(json.dumps({"inputs": [[x]]}))  # several are on their way
        for t in range(6, 12):
            answer = json.loads(ws.recv())
            assert answer["step"] == t + 1
            found += answer["outputs"][0]
    assert found == whole(client)[0]
    assert client.get(f"/v1/sessions/{session}").json()["step"] == 12


def test_rubbish_on_a_socket_is_a_problem_and_changes_nothing(api: Api, client: httpx2.Client):
    session = begin(client)
    with socket(api, session, api.key("predict")) as ws:
        ws.recv()
        for message, code in (
            ("{", "malformed_request"),
            ("[]", "validation_failed"),
            (b"\xff\xfe", "malformed_request"),
            (json.dumps({"inputs": [[[1.0, 2.0]]]}), "validation_failed"),
            (json.dumps({"inputs": [[[1.0]]], "more": 1}), "validation_failed"),
        ):
            ws.send(message)
            assert json.loads(ws.recv())["problem"]["code"] == code
        ws.send(json.dumps({"inputs": [X]}))
        assert json.loads(ws.recv())["outputs"] == whole(client)


def test_a_socket_needs_a_good_key_of_the_sessions_tenant(api: Api, client: httpx2.Client):
    session = begin(client)
    for key, status in ((None, 401), ("unroll_x_y", 401), (api.key("read"), 403), (api.key(tenant="theirs"), 404)):
        with pytest.raises(InvalidStatus) as refused:
            socket(api, session, key)
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body)["status"] == status
    with socket(api, session, None, subprotocols=["unroll.v1", f"key.{api.key('predict')}"]) as ws:
        assert ws.subprotocol == "unroll.v1"
        assert json.loads(ws.recv())["id"] == session


def test_a_socket_ends_when_its_key_is_revoked(api: Api, client: httpx2.Client):
    session, secret = begin(client), api.key("predict")
    key_id = next(key["id"] for key in client.get("/v1/keys").json()["data"] if key["scopes"] == ["predict"])
    with socket(api, session, secret) as ws:
        ws.recv()
        keys.remove(api.db, "ours", key_id)
        time.sleep(0.6)
        ws.send(json.dumps({"inputs": [[X[0]]]}))
        assert json.loads(ws.recv())["problem"]["code"] == "unauthorized"
        with pytest.raises(ConnectionClosed):
            ws.recv()
    assert client.get(f"/v1/sessions/{session}").json()["step"] == 0


def test_the_sdk_streams_and_resumes_in_the_same_bits(api: Api, client: httpx2.Client):
    expected = np.asarray(whole(client)[0])
    with unroll.Client(api.url, api.key()) as ours, ours.stream("net") as stream:
        assert np.array_equal(np.stack([stream.push(x) for x in X[:4]]), expected[:4])
        assert np.array_equal(stream.push(X[4:7]), expected[4:7])
        other = ours.resume_stream(stream.id)
        assert other.step == 7
        assert np.array_equal(other.push(X[7:]), expected[7:])
        with pytest.raises(unroll.ConflictError):
            stream.push(X[7])  # it did not do the steps that are done now
        with pytest.raises(ValueError, match="finite"):
            stream.push([np.nan])
        with pytest.raises(ValueError, match=r"\[I\] or \[T, I\]"):
            stream.push(np.zeros((1, 2, 1)))
    problem(client.get(f"/v1/sessions/{stream.id}"), 404, "not_found")


def test_the_sdk_sends_again_what_a_crash_undid(
    api: Api, second: Api, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
):
    expected = np.asarray(whole(client)[0])
    with unroll.Client(api.url, api.key()) as ours, unroll.Client(second.url, api.key()) as other:
        stream = ours.stream("net")
        found = [stream.push(x) for x in X[:3]]
        deadline = time.monotonic() + 20
        while client.get(f"/v1/sessions/{stream.id}").json()["durable_step"] < 3:
            assert time.monotonic() < deadline
        with monkeypatch.context() as patch:
            patch.setattr(sessions.Sessions, "_save", _never)
            found += [stream.push(x) for x in X[3:7]]
            with httpx2.Client(
                base_url=second.url, headers=dict(client.headers), verify=False, trust_env=False, timeout=30
            ) as there:  # takes the session over at step 3, as a process would that comes up after a crash
                assert step(there, stream.id, [[X[0]]], 99).status_code == 412
            stream._transport = other._transport
            found += [stream.push(x) for x in X[7:]]
    assert np.array_equal(np.stack(found), expected)
