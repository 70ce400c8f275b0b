"""Short forms mean what they say, and the JSON Schema knows the same ones as the types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from store.jobs import body_hash
from unroll import contract

SHORT: list[tuple[Any, Any, dict[str, Any]]] = [
    (contract.Optimizer, "adam", {"type": "adam"}),
    (contract.Optimizer, "rmsprop", {"type": "rmsprop"}),
    (contract.Optimizer, {"lr": 0.01}, {"type": "adam", "lr": 0.01}),
    (contract.Loss, "mse", {"type": "mse"}),
    (contract.Loss, "cross_entropy", {"type": "cross_entropy"}),
    (contract.Loss, {"over": "sequences"}, {"type": "mse", "over": "sequences"}),
    (contract.Clip, 1.0, {"type": "global_norm", "max_norm": 1.0}),
    (contract.Clip, 2, {"type": "global_norm", "max_norm": 2}),
    (contract.Clip, {"max_norm": 0.5}, {"type": "global_norm", "max_norm": 0.5}),
    (contract.Initialisation, "orthogonal", {"type": "orthogonal"}),
    (contract.Initialisation, {}, {"type": "uniform"}),
    (contract.Cell, {"hidden_size": 3}, {"type": "vanilla", "hidden_size": 3}),
    (contract.Data, "integrate_noise", {"type": "task", "name": "integrate_noise"}),
    (contract.Data, {"name": "adding"}, {"type": "task", "name": "adding"}),
]
REFUSED: list[tuple[Any, Any]] = [
    (contract.Optimizer, "adma"),
    (contract.Optimizer, 5),
    (contract.Optimizer, None),
    (contract.Optimizer, ["adam"]),
    (contract.Optimizer, {"momentum": 0.9}),
    (contract.Loss, ""),
    (contract.Clip, "global_norm"),
    (contract.Clip, True),
    (contract.Clip, 0),
    (contract.Clip, {"max_value": 1.0}),
    (contract.Schedule, "cosine"),
    (contract.Schedule, {"steps": 10}),
    (contract.Schedule, 10),
    (contract.Cell, "lstm"),
    (contract.Cell, {"hidden_size": 3, "forget_bias": 1.0}),
    (contract.Initialisation, {"gain": 2.0}),
    (contract.Data, "no name"),
    (contract.Data, 5),
]


def schema_of(type_: Any) -> Draft202012Validator:
    return Draft202012Validator(TypeAdapter(type_).json_schema())


@pytest.mark.parametrize(("type_", "short", "full"), SHORT, ids=[json.dumps(short) for _, short, _ in SHORT])
def test_a_short_form_is_the_full_one(type_: Any, short: Any, full: dict[str, Any]):
    adapter = TypeAdapter(type_)
    meant = adapter.validate_json(json.dumps(full))
    assert adapter.validate_json(json.dumps(short)) == meant
    assert adapter.validate_python(short) == meant
    assert adapter.dump_python(adapter.validate_python(short), mode="json")["type"] == full["type"]
    assert schema_of(type_).is_valid(short)
    assert schema_of(type_).is_valid(full)


@pytest.mark.parametrize(("type_", "wrong"), REFUSED, ids=[json.dumps(wrong) for _, wrong in REFUSED])
def test_what_is_no_short_form_is_refused_by_the_type_and_by_its_schema(type_: Any, wrong: Any):
    with pytest.raises(ValidationError):
        TypeAdapter(type_).validate_json(json.dumps(wrong))
    assert not schema_of(type_).is_valid(wrong)


def test_a_job_in_short_forms_is_stored_in_full_and_has_the_hash_of_the_full_job():
    rest = {"input_size": 1, "output_size": 1}
    short = {
        "model": {"cell": {"hidden_size": 3}, "initialisation": "orthogonal", **rest},
        "data": "integrate_noise",
        "training": {"steps": 10, "optimizer": {"lr": 0.01}, "loss": "mse", "clip": 1},
    }
    full = {
        "kind": "train",
        "model": {
            "cell": {"type": "vanilla", "hidden_size": 3},
            "initialisation": {"type": "orthogonal", "gain": 1.0},
            **rest,
        },
        "data": {"type": "task", "name": "integrate_noise", "parameters": {}},
        "training": {
            "steps": 10,
            "optimizer": {"type": "adam", "lr": 0.01},
            "loss": {"type": "mse"},
            "clip": {"type": "global_norm", "max_norm": 1.0},
        },
    }
    adapter: TypeAdapter[contract.TrainJob] = TypeAdapter(contract.JobConfig)
    one, other = adapter.validate_python(short), adapter.validate_python(full)
    assert one.model_dump_json() == other.model_dump_json()
    assert body_hash(one) == body_hash(other)
    schema = schema_of(contract.JobConfig)
    assert schema.is_valid(short)
    assert schema.is_valid(full)


def test_the_types_of_the_contract_take_short_forms_as_arguments():
    training = contract.Training.model_validate({"steps": 10, "optimizer": "sgd", "clip": 1.5})
    assert training == contract.Training(
        steps=10, optimizer=contract.SGD(), clip=contract.ClipByGlobalNorm(max_norm=1.5)
    )


@pytest.mark.parametrize("name", ["my run", "  trimmed ", "Öğrenme №3 ☃", "運動", '👩‍🔬 it\'s "quoted"', "x" * 100])
def test_a_name_for_people_is_any_text(name: str):
    named = TypeAdapter(contract.Title).validate_json(json.dumps(name))
    assert named == name.strip()


@pytest.mark.parametrize(
    "name", ["", " \t ", "two\nlines", "bell\x07", "nul\x00", "\x9b31m", "turned\u202e", "x" * 101]
)
def test_a_name_for_people_is_printable_and_short(name: str):
    with pytest.raises(ValidationError):
        TypeAdapter(contract.Title).validate_json(json.dumps(name))
