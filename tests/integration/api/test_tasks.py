"""Built-in tasks over HTTP."""

from __future__ import annotations

import math

import httpx2
import pytest

from tests.integration.api.serving import Api, pointers


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
