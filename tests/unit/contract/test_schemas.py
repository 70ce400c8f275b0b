"""What a JSON Schema admits is what its type accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from api import openapi
from api.routes.schemas import KINDS, _schema
from api.rules import RULES, fits
from unroll.contract import ChangeKey, FieldError, JobConfig, Network, NewKey, PredictRequest

DOCUMENT = json.loads(openapi.FILE.read_text(encoding="utf-8"))
CELL = {"hidden_size": 3}
NETWORK: dict[str, Any] = {"cell": CELL, "input_size": 1, "output_size": 1}
JOB: dict[str, Any] = {"model": NETWORK, "data": "integrate_noise", "training": {"steps": 10}}
KEY = {"name": "notebook"}
ADMITTED: list[tuple[Any, Any]] = [
    (Network, NETWORK),
    (Network, NETWORK | {"cell": {"type": "leaky", "hidden_size": 3, "dt": 0.5}}),
    (Network, NETWORK | {"cell": {"hidden_size": 3.0}, "input_size": 1.0, "vocabulary_size": 2.0}),
    (Network, NETWORK | {"connectivity": {"mask": [[1.0, 1], [0, 1]], "seed": 2**63 - 1}}),
    (JobConfig, JOB),
    (JobConfig, JOB | {"kind": "train", "replicas": 2.0, "training": {"steps": 1e2, "bptt": {"window": 2.0}}}),
    (JobConfig, JOB | {"labels": {"course": "week 7"}}),
    (JobConfig, {"kind": "evaluate", "checkpoint": "c", "lengths": [5.0], "replica": 2.0}),
    (PredictRequest, {"inputs": [[[1]]], "replica": 0.0, "steps": 3.0}),
    (NewKey, KEY | {"name": " x "}),
    (ChangeKey, {"name": "x", "expires_at": None}),
]
REFUSED: list[tuple[Any, Any]] = [
    (Network, NETWORK | {"cell": {"hidden_size": 3, "dt": 0.5}}),
    (Network, NETWORK | {"cell": {"hidden_size": 3.5}}),
    (Network, NETWORK | {"cell": {"hidden_size": "3"}}),
    (Network, NETWORK | {"cell": {"hidden_size": True}}),
    (Network, NETWORK | {"connectivity": {"mask": [[1]] * 361}}),
    (Network, NETWORK | {"connectivity": {"seed": 2**63}}),
    (JobConfig, {"checkpoint": "c"}),
    (JobConfig, JOB | {"labels": {"two\nlines": "x"}}),
    (JobConfig, JOB | {"labels": {"x" * 101: "x"}}),
    (JobConfig, JOB | {"labels": {"": "x"}}),
    (NewKey, KEY | {"name": "  "}),
    (ChangeKey, {"scopes": []}),
]


def in_the_document(type_: Any) -> Draft202012Validator:
    if type_ is JobConfig:
        body = DOCUMENT["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    else:
        body = {"$ref": f"#/components/schemas/{type_.__name__}"}
    return Draft202012Validator(body | {"components": DOCUMENT["components"]})


@pytest.mark.parametrize(("type_", "body"), ADMITTED, ids=[json.dumps(body)[:80] for _, body in ADMITTED])
def test_what_the_document_admits_is_accepted(type_: Any, body: Any):
    assert in_the_document(type_).is_valid(body)
    TypeAdapter(type_).validate_json(json.dumps(body))
    TypeAdapter(type_).validate_python(body)


@pytest.mark.parametrize(("type_", "body"), REFUSED, ids=[json.dumps(body)[:80] for _, body in REFUSED])
def test_what_is_refused_is_not_admitted_by_the_document(type_: Any, body: Any):
    assert not in_the_document(type_).is_valid(body)
    with pytest.raises(ValidationError):
        TypeAdapter(type_).validate_json(json.dumps(body))


@pytest.mark.parametrize("name", ["name", "scopes"])
def test_null_is_no_change_of_a_key(name: str):
    assert not in_the_document(ChangeKey).is_valid({name: None})
    assert DOCUMENT["components"]["schemas"]["ChangeKey"]["properties"][name].get("default") is None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in {"leaky", "lstm", "gru", "evaluate", "export"}])
def test_the_schema_of_one_kind_asks_for_the_word_that_tells_it_from_the_default_one(kind: str):
    tag = "kind" if kind in {"evaluate", "export"} else "type"
    body = {"checkpoint": "c", "format": "onnx"} if tag == "kind" else CELL
    body = {name: value for name, value in body.items() if name in _schema(kind)["properties"]}
    assert not Draft202012Validator(_schema(kind)).is_valid(body)
    assert Draft202012Validator(_schema(kind)).is_valid(body | {tag: kind})
    assert Draft202012Validator(_schema("vanilla")).is_valid(CELL)


def test_a_whole_number_stays_one_in_what_is_stored():
    job = TypeAdapter(JobConfig).validate_json(json.dumps(JOB | {"replicas": 2.0}))
    assert json.loads(job.model_dump_json())["replicas"] == 2
    assert type(job.replicas) is int  # type: ignore[union-attr]


def test_the_document_lists_what_no_schema_can_say_and_nothing_that_one_can():
    assert DOCUMENT["x-rules"] == [rule._asdict() for rule in RULES]
    assert fits(FieldError(pointer="/model/connectivity/mask", code="contradiction", detail=""))
    assert fits(FieldError(pointer="?cursor", code="invalid", detail=""))
    for code in ("missing", "extra_forbidden", "int_type", "less_than_equal", "literal_error", "invalid"):
        assert not fits(FieldError(pointer="/training/steps", code=code, detail=""))


def test_the_schema_of_a_type_stays_the_same_however_often_it_is_asked_for():
    first = TypeAdapter(list[Network]).core_schema
    for _ in range(300):
        again = TypeAdapter(list[Network])
    assert len(repr(again.core_schema)) == len(repr(first))
    again.json_schema()
