"""Serving configuration: candidates, shadows, aliases, and taking changes back."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import pytest

from api.shadows import difference
from store import leases
from tests.integration.api.serving import JOB, Api, checkpoint, claim, pointers, problem, trained

NET: dict[str, Any] = {"name": "net", "config": JOB["model"]}
OF_NET = JOB | {"model": "net"}
PATH = "/v1/models/net"
BODY = {"inputs": [[[0.5], [-1.0]]]}


@pytest.fixture
def two(api: Api, client: httpx2.Client) -> tuple[str, str]:
    """Two checkpoints of the model with different weights."""
    client.post("/v1/models", json=NET)
    first = trained(api, client, OF_NET)["summary"]["last_checkpoint"]
    client.post("/v1/jobs", json=OF_NET | {"seed": 1})
    lease = claim(api)
    checkpoint(lease, lease.total, (0.4, 0.3), seed=5)
    leases.end(lease, "succeeded")
    return first, client.get(f"/v1/jobs/{lease.job_id}").json()["summary"]["last_checkpoint"]


def outputs(client: httpx2.Client, path: str = PATH) -> tuple[str, Any]:
    answer = client.post(f"{path}/predict", json=BODY)
    assert answer.status_code == 200, answer.text
    return answer.json()["checkpoint"], answer.json()["outputs"]


def metric(client: httpx2.Client, name: str, *labels: str) -> float:
    wanted = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(line.split()[-1]) for line in wanted if all(label in line for label in labels))


def test_a_candidate_answers_its_share_and_every_answer_says_who_gave_it(client: httpx2.Client, two: tuple[str, str]):
    first, second = two
    expected = {one: outputs(client, f"/v1/checkpoints/{one}")[1] for one in two}
    candidate = {"checkpoint": second, "replica": "best", "share": 0.5}
    served = client.put(f"{PATH}/serving", json={"checkpoint": first, "candidate": candidate}).json()["serving"]
    assert served["candidate"] == {"checkpoint": second, "replica": 1, "share": 0.5}
    found = [outputs(client) for _ in range(60)]
    counts = [sum(one == name for one, _ in found) for name in two]
    assert min(counts) > 10  # of 60 draws with one half, fewer in one of 10^7 runs
    assert all(answer == expected[one] for one, answer in found)
    for name, count in zip(two, counts, strict=True):
        assert metric(client, "unroll_predictions_total", f'checkpoint="{name}"', 'model="net"') == count


def test_a_shadow_repeats_what_is_asked_and_is_compared(client: httpx2.Client, two: tuple[str, str]):
    first, second = two
    for shadow, least, most in ((second, 1e-3, 10.0), (first, 0.0, 0.0)):
        before = metric(client, "unroll_shadow_difference_sum")
        count = metric(client, "unroll_shadow_predictions_total", "compared")
        client.put(f"{PATH}/serving", json={"checkpoint": first, "shadow": {"checkpoint": shadow}})
        assert {outputs(client)[0] for _ in range(10)} == {first}
        deadline = time.monotonic() + 20
        while metric(client, "unroll_shadow_predictions_total", "compared") - count < 10:
            assert time.monotonic() < deadline
        assert least <= (metric(client, "unroll_shadow_difference_sum") - before) / 10 <= most
    client.put(f"{PATH}/serving", json={"checkpoint": first})
    count = metric(client, "unroll_shadow_predictions_total")
    outputs(client)
    assert metric(client, "unroll_shadow_predictions_total") == count


def test_a_change_is_taken_back_in_one_call(client: httpx2.Client, two: tuple[str, str]):
    first, second = two
    candidate = {"checkpoint": second, "replica": 0, "share": 0.25}
    client.put(f"{PATH}/serving", json={"checkpoint": first, "replica": 0, "candidate": candidate})
    before = client.get(PATH).json()["serving"]
    client.put(f"{PATH}/serving", json={"checkpoint": second})
    assert outputs(client)[0] == second
    assert client.post(f"{PATH}/serving/undo").json()["serving"] == before
    assert client.post(f"{PATH}/serving/undo").json()["serving"]["checkpoint"] == second
    assert client.delete(f"{PATH}/serving").json()["serving"]["pinned"] is False
    assert client.post(f"{PATH}/serving/undo").json()["serving"]["pinned"] is True


def test_an_alias_names_a_checkpoint(client: httpx2.Client, stranger: httpx2.Client, two: tuple[str, str]):
    first, second = two
    expected = {one: outputs(client, f"/v1/checkpoints/{one}")[1] for one in two}
    for one in (first, second, first):
        model = client.put(f"{PATH}/aliases/champion", json={"checkpoint": one}).json()
        assert model["aliases"] == {"champion": {"checkpoint": one, "replica": 1}}
        for _ in range(3):
            assert outputs(client, f"{PATH}@champion") == (one, expected[one])
    problem(stranger.post(f"{PATH}@champion/predict", json=BODY), 404, "not_found")
    assert client.delete(f"{PATH}/aliases/champion").status_code == 204
    assert (
        "no alias champion" in problem(client.post(f"{PATH}@champion/predict", json=BODY), 404, "not_found")["detail"]
    )
    problem(client.delete(f"{PATH}/aliases/champion"), 404, "not_found")


def test_what_does_not_fit_is_refused_at_its_field_and_nothing_changes(
    api: Api, client: httpx2.Client, two: tuple[str, str]
):
    first, second = two
    client.put(f"{PATH}/serving", json={"checkpoint": first, "candidate": {"checkpoint": second, "share": 0.1}})
    before = client.get(PATH).json()
    other = JOB | {"model": JOB["model"] | {"cell": {"hidden_size": 4}}}
    foreign = trained(api, client, other)["summary"]["last_checkpoint"]
    for body, pointer in (
        ({"checkpoint": second, "candidate": {"checkpoint": foreign, "share": 0.5}}, "/candidate/checkpoint"),
        ({"checkpoint": second, "candidate": {"checkpoint": first, "share": 1.5}}, "/candidate/share"),
        ({"checkpoint": second, "shadow": {"checkpoint": first, "replica": 9}}, "/shadow/replica"),
        ({"checkpoint": foreign}, "/checkpoint"),
    ):
        assert pointers(client.put(f"{PATH}/serving", json=body)) == [pointer]
    assert pointers(client.put(f"{PATH}/aliases/a", json={"checkpoint": foreign})) == ["/checkpoint"]
    assert pointers(client.put(f"{PATH}/aliases/a@b", json={"checkpoint": first})) == ["alias"]
    assert client.get(PATH).json() == before


def test_the_difference_of_outputs_is_relative_and_sees_what_is_not_finite():
    assert difference([[1.0, 2.0]], [[1.0, 2.0]]) == 0.0
    assert difference([[1.0, 2.0], [4.0]], [[1.0, 1.0], [4.0]]) == 0.25
    assert difference([[1.0, float("inf")]], [[1.0, 2.0]]) == float("inf")
