"""From pydantic's locations to pointers into what was posted."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from api.pointers import MAX_ERRORS, of_body, pointer
from unroll.contract import Request, TrainJob


class Dog(Request):
    kind: Literal["dog"]
    legs: int


class Cat(Request):
    kind: Literal["cat"]
    lives: int


class Box(Request):
    width: Annotated[int, Field(examples=[30])]


class House(Request):
    pet: Annotated[Dog | Cat, Field(discriminator="kind")] | None = None
    either: Annotated[str, Field(pattern="^[a-z]+$")] | Box | None = None
    table: list[float] | list[list[float]] | None = None
    rooms: dict[str, list[Box]] = {}


def errors(body: object, model: type[Request] = House) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(body))
    return {one.pointer: one.code for one in of_body(caught.value.errors(include_url=False), body, model)}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"pet": {"kind": "dog", "legs": "x"}}, {"/pet/legs": "int_type"}),
        ({"pet": {"kind": "dog"}}, {"/pet/legs": "missing"}),
        ({"pet": {"kind": "cow"}}, {"/pet/kind": "literal_error"}),
        ({"pet": {}}, {"/pet/kind": "missing"}),
        ({"pet": {"kind": "dog", "legs": 4, "dog": 1}}, {"/pet/dog": "extra_forbidden"}),
        ({"either": "A"}, {"/either": "string_pattern_mismatch"}),
        ({"either": {}}, {"/either/width": "missing"}),
        ({"either": {"width": 1, "depth": 2}}, {"/either/depth": "extra_forbidden"}),
        ({"either": 1}, {"/either": "string_type"}),
        ({"table": [1, "x"]}, {"/table/1": "float_type"}),
        ({"table": [[1], [2, "x"]]}, {"/table/1/1": "float_type"}),
        ({"rooms": {"a/b": [{"width": 1}, {}], "~": 1}}, {"/rooms/a~1b/1/width": "missing", "/rooms/~0": "list_type"}),
        ([], {"": "model_type"}),
    ],
)
def test_an_error_points_at_what_was_posted(body: object, found: dict[str, str]):
    assert errors(body) == found


def test_what_may_stand_there_is_said_once_where_no_branch_fits_better():
    with pytest.raises(ValidationError) as caught:
        House.model_validate_json('{"either": 1}')
    (found,) = of_body(caught.value.errors(), {"either": 1}, House)
    assert found.detail == 'Input should be a name, or an object, for example {"width": 30}'


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"pet": {"kind": "dog", "legs": 4, "dog": 1}}, "dog has no such field; it has legs"),
        ({"model": {"cell": {"type": "vanilla", "noise": {}}}}, "vanilla has no such field; leaky has it"),
        (
            {"model": {"initialisation": {"type": "uniform", "gain": 1}}},
            "uniform has no such field; orthogonal and gaussian have it",
        ),
        ({"training": {"optimizer": {"type": "sgd", "beta1": 0.9}}}, "sgd has no such field; adam and adamw have it"),
    ],
)
def test_a_field_that_is_not_there_is_told_from_those_that_are(body: dict[str, Any], detail: str):
    model = House if "pet" in body else TrainJob
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(body))
    (one,) = (one for one in of_body(caught.value.errors(), body, model) if one.code == "extra_forbidden")
    assert one.detail.startswith(detail)


def test_more_errors_than_anybody_reads_are_cut_off():
    assert len(errors({str(i): 1 for i in range(200)})) == MAX_ERRORS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
JOB: dict[str, Any] = {
    "model": {"cell": {"hidden_size": 3}, "input_size": 1, "output_size": 1},
    "data": {"name": "integrate_noise", "parameters": {}},
    "training": {"steps": 10, "optimizer": {"type": "adam"}, "clip": {"type": "global_norm", "max_norm": 1}},
    "labels": {"a": "b"},
}


def resolve(document: Any, path: str) -> Any:
    for part in path.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


@given(st.data())
def test_every_pointer_leads_into_the_posted_document_or_to_a_field_that_is_missing(data: st.DataObject):
    body = json.loads(json.dumps(JOB))
    place = body
    while isinstance(place, dict) and place and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict):
            break
        place = place[key]
    place[data.draw(st.sampled_from([*sorted(place), "extra"]))] = data.draw(JSON)
    try:
        TrainJob.model_validate_json(json.dumps(body))
    except ValidationError as error:
        for one in of_body(error.errors(include_url=False), body, TrainJob):
            path, _, last = one.pointer.rpartition("/")
            if one.code == "missing":
                assert last not in resolve(body, path)
            else:
                resolve(body, one.pointer)


@given(st.lists(st.text(max_size=5) | st.integers(0, 9)))
def test_a_pointer_can_be_read_back(path: list[int | str]):
    read = [part.replace("~1", "/").replace("~0", "~") for part in pointer(path).split("/")[1:]]
    assert read == [str(part) for part in path]
