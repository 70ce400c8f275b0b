"""The OpenAPI document is committed, complete, and its examples are what the contract says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from api import openapi
from unroll import contract

DOCUMENT: dict[str, Any] = json.loads(openapi.render())
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
FOUNDATION = """
GET /
GET /livez
GET /metrics
GET /readyz
GET /v1/checkpoints/{checkpoint_id}
GET /v1/checkpoints/{checkpoint_id}/content
POST /v1/checkpoints/{checkpoint_id}/predict
GET /v1/jobs
POST /v1/jobs
GET /v1/jobs/{job_id}
DELETE /v1/jobs/{job_id}
POST /v1/jobs/{job_id}/cancel
GET /v1/jobs/{job_id}/checkpoints
GET /v1/jobs/{job_id}/events
GET /v1/jobs/{job_id}/metrics
POST /v1/jobs/{job_id}/pause
POST /v1/jobs/{job_id}/resume
POST /v1/jobs/{job_id}/retry
GET /v1/keys
POST /v1/keys
GET /v1/keys/{key_id}
PATCH /v1/keys/{key_id}
DELETE /v1/keys/{key_id}
GET /v1/me
GET /v1/models
POST /v1/models
GET /v1/models/{name}
DELETE /v1/models/{name}
POST /v1/models/{name}/predict
PUT /v1/models/{name}/serving
GET /v1/queues
GET /v1/tasks
GET /v1/tasks/{name}
POST /v1/tasks/{name}/sample
GET /v1/workers
"""


def test_the_committed_document_is_the_one_that_the_code_makes():
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.render(), "run `make openapi` and commit openapi.json"


def test_every_operation_of_the_foundation_is_there():
    assert set(FOUNDATION.strip().splitlines()) <= set(OPERATIONS)


def test_every_reference_leads_somewhere():
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [one for value in node.values() for one in references(value)]
        return [one for item in node for one in references(item)] if isinstance(node, list) else []

    schemas = DOCUMENT["components"]["schemas"]
    assert {one for one in references(DOCUMENT) if one.removeprefix("#/components/schemas/") not in schemas} == set()
    assert "HTTPValidationError" not in schemas


def test_operation_ids_are_unique_words():
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)
    assert all(one.replace("_", "").isalpha() for one in ids)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_declares_its_errors_and_examples(name: str):
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["tags"]
    errors = {status: one for status, one in operation["responses"].items() if status >= "400"}
    assert errors
    for status, response in errors.items():
        content = response["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        for code, example in content["examples"].items():
            problem = contract.Problem.model_validate(example["value"])
            assert (problem.code, problem.status) == (code, int(status))
    if "/v1/" in name:
        assert {"401", "500", "503"} <= set(errors)
        assert operation["security"] == [{"key": []}]
    for status, response in operation["responses"].items():
        if status < "300":
            for content in response.get("content", {}).values():
                _check(content)
    if "requestBody" in operation:
        assert {"400", "413", "415", "422"} <= set(errors)
        _check(operation["requestBody"]["content"]["application/json"])


def _check(content: dict[str, Any]) -> None:
    """An example is there where the schema is one of the contract's types, and is one of these."""
    name = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
    if not name:
        return
    if name.startswith("Page_"):
        kind: Any = contract.Page[getattr(contract, name.removeprefix("Page_").removesuffix("_"))]
    else:
        kind = getattr(contract, name)
    TypeAdapter(kind).validate_json(json.dumps(content["example"]))
