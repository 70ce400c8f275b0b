"""Built-in tasks over HTTP."""

from __future__ import annotations

import math
import time
from typing import Any

import httpx2
import numpy as np
import pytest

from rnn.data import tasks
from rnn.data.source import Source
from tests.integration.api.serving import Api, pointers, problem
from unroll.contract import HeldOut, SampleResponse, TaskData


def test_a_task_tells_its_widths_and_baseline_for_the_parameters_asked_for(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    default = client.get("/v1/tasks/recall").json()
    asked = client.get("/v1/tasks/recall", params={"parameters": '{"symbols": 5}'}).json()
    assert (default["vocabulary_size"], default["output_size"]) == (10, 8)
    assert (asked["vocabulary_size"], asked["output_size"]) == (7, 5)
    assert asked["baseline"]["loss"] == pytest.approx(math.log(5))


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ('{"symbols": 1}', "?parameters/symbols"),
        ('{"kinds": 5}', "?parameters/kinds"),
        ("5", "?parameters"),
        ("{", "?parameters"),
    ],
)
def test_parameters_that_the_task_does_not_have_are_refused(
    shared: tuple[Api, httpx2.Client], given: str, pointer: str
):
    _, client = shared
    answer = client.get("/v1/tasks/recall", params={"parameters": given})
    assert answer.status_code == 422
    assert pointers(answer)[0].startswith(pointer)
    assert client.get("/v1/tasks/no_such", params={"parameters": "{}"}).status_code == 404


def test_a_sample_is_the_held_out_set_of_its_seed_and_size(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    asked = {"parameters": {"length": 9, "min_length": 4}, "sequences": 7, "seed": 3}
    answer = client.post("/v1/tasks/integrate_noise/sample", json=asked).json()
    task = tasks.resolve(TaskData(name="integrate_noise", parameters={"length": 9, "min_length": 4}))
    batch = task.held_out(HeldOut(size=7, seed=3))
    assert batch.length_RB is not None
    for b, length in enumerate(batch.length_RB[0]):
        assert np.array_equal(np.float32(answer["inputs"][b]), batch.x_RTBI[0, :length, b])
        assert np.array_equal(np.float32(answer["targets"][b]), batch.target_RTBO[0, :length, b])
    assert answer["weights"] is None
    assert (
        answer["task"]
        == client.get("/v1/tasks/integrate_noise", params={"parameters": '{"length": 9, "min_length": 4}'}).json()
    )
    assert answer["parameters"] == asked["parameters"]
    other = client.post("/v1/tasks/integrate_noise/sample", json=asked | {"seed": 4}).json()
    assert other["inputs"] != answer["inputs"]


def test_every_task_gives_a_sample_in_which_each_number_has_a_name(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    for task in client.get("/v1/tasks").json()["data"]:
        answer = client.post(f"/v1/tasks/{task['name']}/sample", json={})
        sample = SampleResponse.model_validate(answer.json())
        width = 1 if task["vocabulary_size"] else len(sample.task.input_names)
        assert {len(step) for step in sample.inputs[0]} == {width}
        assert {len(step) for step in sample.targets[0]} == {len(sample.task.target_names)}
        assert (sample.weights is None) != (task["name"] in WEIGHTED)
        if sample.weights is not None:
            assert len(sample.weights[0]) == len(sample.targets[0])


WEIGHTED = {"recall", "perceptual_decision", "context_integration", "delayed_match"}


@pytest.mark.parametrize(
    ("name", "asked", "pointer", "code"),
    [
        ("xor", {"sequences": 10**9}, "/sequences", "less_than_equal"),
        ("xor", {"sequences": 0}, "/sequences", "greater_than_equal"),
        ("xor", {"seed": -1}, "/seed", "greater_than_equal"),
        ("population", {"sequences": 60_000}, "/sequences", "too_many_values"),
        ("parity", {"parameters": {"length": 100_000}}, "/parameters", "too_many_values"),
        ("ring_memory", {"parameters": {"neurons": 1_000, "delay": 5_000}}, "/parameters", "too_many_values"),
        ("sine", {"parameters": {"lenght": 3}}, "/parameters/lenght", "extra_forbidden"),
        ("sine", {"parameters": {"length": 0}}, "/parameters/length", "greater_than_equal"),
        ("sine", {"size": 3}, "/size", "extra_forbidden"),
    ],
)
def test_a_sample_that_is_too_large_or_wrong_is_refused_before_anything_is_drawn(
    shared: tuple[Api, httpx2.Client],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    asked: dict[str, Any],
    pointer: str,
    code: str,
):
    def drawn(*_: object) -> None:
        raise AssertionError("it was drawn")

    monkeypatch.setattr(Source, "held_out", drawn)
    _, client = shared
    answer = client.post(f"/v1/tasks/{name}/sample", json=asked)
    assert problem(answer, 422, "validation_failed")["errors"][0]["code"] == code
    assert pointers(answer) == [pointer]
    problem(client.post("/v1/tasks/no_such/sample", json={}), 404, "not_found")


def test_the_largest_sample_costs_little(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    for name, asked in {
        "poisson_counts": {"parameters": {"length": 5_000}, "sequences": 10},
        "oculomotor": {"parameters": {"epochs": 50, "epoch_length": 100}, "sequences": 10},
        "population": {"parameters": {"neurons": 256, "rate": 2.0}, "sequences": 15},
        "recall": {"sequences": 1_800},
    }.items():
        begin = time.process_time()
        answer = client.post(f"/v1/tasks/{name}/sample", json=asked)
        spent = time.process_time() - begin
        assert answer.status_code == 200, answer.text[:500]
        assert len(answer.content) < 8e6
        assert spent < 1.5  # of CPU, this client's included; some ten times what it takes
