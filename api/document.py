"""The OpenAPI document of the application, `app.openapi()`, made from the routes and the types of the contract."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.operations import NULL, REFERENCE
from api.rules import RULES
from unroll.contract import (
    JOB_TYPES,
    ChangeKey,
    Check,
    CheckRequest,
    DryRun,
    EvaluationResult,
    NewKey,
    NewModel,
    NewSession,
    Pin,
    PredictRequest,
    PredictResponse,
    Problem,
    SampleRequest,
    Serving,
    SessionState,
    StepRequest,
    StepResponse,
)

REFERRED: tuple[type[BaseModel], ...] = (
    ChangeKey,
    Check,
    CheckRequest,
    DryRun,
    EvaluationResult,
    NewKey,
    NewModel,
    NewSession,
    Pin,
    PredictRequest,
    PredictResponse,
    Problem,
    SampleRequest,
    Serving,
    SessionState,
    StepRequest,
    StepResponse,
    *JOB_TYPES,
)
"""Types that routes name by reference, because the framework does not read these bodies and does not write all
answers."""

_LARGEST = 2**63 - 1
DESCRIPTION = """\
Train recurrent networks by backpropagation through time, and use what they learned.

Every refusal is an `application/problem+json` document (RFC 9457) with a stable `code`, the `request_id` to quote, and
JSON Pointers to the fields that were wrong. Lists are pages `{data, next}`: send `next` as `cursor` until it is null.
A request that its schema admits can still be refused, for the reasons that `x-rules` lists in this document.
Every response has an `X-Request-ID`: the request's own if it is valid, otherwise a new one.
"""

TAGS = [
    {"name": "jobs", "description": "Train, evaluate and export networks; follow, pause, resume, cancel and retry."},
    {"name": "models", "description": "Named configurations, and predictions with the best trained one."},
    {"name": "checkpoints", "description": "Trained weights, and predictions with them."},
    {"name": "sessions", "description": "Live streams: the server keeps the hidden state between requests."},
    {"name": "artifacts", "description": "Files that jobs made: results, exported networks."},
    {"name": "tasks", "description": "Tasks that networks can be trained on."},
    {"name": "checks", "description": "Hand-written gradients compared with autograd and finite differences."},
    {"name": "schemas", "description": "JSON Schema of what can be sent."},
    {"name": "keys", "description": "API keys and what they allow."},
    {"name": "fleet", "description": "Workers and queues."},
    {"name": "health", "description": "For supervisors and Prometheus."},
]


def install(app: FastAPI) -> None:
    """Make `app.openapi()` return the document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
                separate_input_output_schemas=False,
            )
            _, definitions = models_json_schema([(model, "validation") for model in REFERRED], ref_template=REFERENCE)
            made = _with_nulls(made)
            _describe_json_in_queries(made)
            _write_whole_bounds(made)
            made["x-rules"] = [rule._asdict() for rule in RULES]
            _drop_the_frameworks_own_refusals(made)
            schemas = made["components"]["schemas"]
            for name, schema in definitions["$defs"].items():
                schemas.setdefault(name, schema)
            made["components"]["schemas"] = dict(sorted(schemas.items()))
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _with_nulls(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _with_nulls(item) for name, item in node.items()}
    if isinstance(node, list):
        return [_with_nulls(item) for item in node]
    return None if node == NULL else node


def _describe_json_in_queries(document: dict[str, Any]) -> None:
    """Say of parameters that are JSON documents what they are as such, not that they are texts."""
    for operations in document["paths"].values():
        for parameter in (one for operation in operations.values() for one in operation.get("parameters", ())):
            if parameter["schema"].get("contentMediaType") == "application/json":
                parameter["content"] = {"application/json": {"schema": {"type": "object"}}}
                del parameter["schema"]


def _write_whole_bounds(node: Any) -> None:
    """Write the bounds of whole numbers as such: the framework makes floats of them, which cannot hold 2^63 - 1."""
    if isinstance(node, dict):
        for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if node.get("type") == "integer" and isinstance(node.get(name), float):
                node[name] = min(int(node[name]), _LARGEST if name == "maximum" else _LARGEST + 1)
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _write_whole_bounds(item)


def _drop_the_frameworks_own_refusals(document: dict[str, Any]) -> None:
    """Remove the 422 response that the framework declares for every parameter.

    `operation` declares what is really refused.
    """
    for operations in document["paths"].values():
        for one in operations.values():
            if "application/json" in one["responses"].get("422", {}).get("content", {}):
                del one["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
