"""The OpenAPI document: what each route takes, answers and refuses, with examples.

`python -m api.openapi` writes openapi.json; a test regenerates and compares it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.errors import MEDIA_TYPE, TITLES
from api.examples import shown
from unroll.contract import (
    RETRYABLE,
    STATUS,
    ChangeKey,
    DryRun,
    FieldError,
    NewKey,
    NewModel,
    PredictRequest,
    PredictResponse,
    Problem,
    ProblemCode,
    Serving,
    TrainJob,
)

FILE = Path(__file__).parent.parent / "openapi.json"
REFERENCE = "#/components/schemas/{model}"
REFERRED: tuple[type[BaseModel], ...] = (
    ChangeKey,
    DryRun,
    NewKey,
    NewModel,
    PredictRequest,
    PredictResponse,
    Problem,
    Serving,
    TrainJob,
)
"""Types that routes name by reference, because bodies are read and some answers written without the framework."""

WITH_KEY: tuple[ProblemCode, ...] = (
    "unauthorized",
    "key_expired",
    "not_acceptable",
    "internal_error",
    "database_unavailable",
)
WITH_BODY: tuple[ProblemCode, ...] = (
    "malformed_request",
    "body_too_large",
    "unsupported_media_type",
    "validation_failed",
)

DESCRIPTION = """\
Train recurrent networks by backpropagation through time, and use what they learned.

Every refusal is an `application/problem+json` document (RFC 9457) with a stable `code`, the `request_id` to quote, and
JSON Pointers to the fields that were wrong. Lists are pages `{data, next}`: send `next` as `cursor` until it is null.
`X-Request-ID` is taken over from the request where it is sane, and answered always.
"""

TAGS = [
    {"name": "jobs", "description": "Train networks; follow, pause, resume, cancel and retry."},
    {"name": "models", "description": "Named configurations, and predictions with the best trained one."},
    {"name": "checkpoints", "description": "Trained weights, and predictions with them."},
    {"name": "tasks", "description": "What networks can be trained on."},
    {"name": "keys", "description": "Who may do what."},
    {"name": "fleet", "description": "Workers and queues."},
    {"name": "health", "description": "For supervisors and Prometheus."},
]


def answer(model: type[BaseModel], description: str, example: BaseModel) -> dict[str, Any]:
    """Another successful response of a route."""
    content = {"schema": {"$ref": REFERENCE.format(model=model.__name__)}, "example": _example(example)}
    return {"description": description, "content": {"application/json": content}}


def operation(
    operation_id: str,
    summary: str,
    *,
    gives: tuple[int, str, BaseModel | None],
    takes: tuple[type[BaseModel], BaseModel] | None = None,
    problems: Sequence[ProblemCode] = (),
    also: dict[int | str, dict[str, Any]] | None = None,
    with_key: bool = True,
) -> dict[str, Any]:
    """Keyword arguments of a route: its name, what it takes and gives, and everything it may refuse."""
    status, description, example = gives
    codes = [*(WITH_KEY if with_key else ("internal_error",)), *(WITH_BODY if takes else ()), *problems]
    responses: dict[int | str, dict[str, Any]] = {status: {"description": description}}
    if example is not None:
        responses[status]["content"] = {"application/json": {"example": _example(example)}}
    responses |= also or {}
    responses |= _refusals(codes)
    extra: dict[str, Any] = {}
    if takes is not None:
        model, sent = takes
        content = {
            "schema": {"$ref": REFERENCE.format(model=model.__name__)},
            "example": _example(sent, exclude_unset=True),
        }
        extra["requestBody"] = {"required": True, "content": {"application/json": content}}
    return {
        "operation_id": operation_id,
        "summary": summary,
        "status_code": status,
        "responses": responses,
        "openapi_extra": extra or None,
    }


def _refusals(codes: Sequence[ProblemCode]) -> dict[int | str, dict[str, Any]]:
    found: dict[int | str, dict[str, Any]] = {}
    for code in dict.fromkeys(codes):
        status = STATUS[code]
        response = found.setdefault(
            status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}, "examples": {}}},
            },
        )
        response["description"] = "; ".join(filter(None, [response["description"], f"`{code}`: {TITLES[code]}"]))
        response["content"][MEDIA_TYPE]["examples"][code] = {"value": _example(_problem(code))}
        if code in {"quota_exceeded", "database_unavailable"}:
            response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return dict(sorted(found.items(), key=lambda item: str(item[0])))


def _problem(code: ProblemCode) -> Problem:
    errors = []
    if code == "validation_failed":
        detail = "Input should be less than or equal to 16384"
        errors = [FieldError(pointer="/model/cell/hidden_size", code="less_than_equal", detail=detail)]
    return Problem(
        type=f"urn:unroll:problem:{code}",
        title=TITLES[code],
        status=STATUS[code],
        code=code,
        detail=f"{errors[0].pointer}: {errors[0].detail}" if errors else f"{TITLES[code]}.",
        instance="/v1/…",
        request_id="req_01kjqv3m5n7p9q1r3s5t7v9w1x",
        retryable=code in RETRYABLE,
        errors=errors,
    )


def install(app: FastAPI) -> None:
    """Make `app.openapi()` answer the document."""

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
            _drop_the_frameworks_own_refusals(made)
            schemas = made["components"]["schemas"]
            for name, schema in definitions["$defs"].items():
                schemas.setdefault(name, schema)
            made["components"]["schemas"] = dict(sorted(schemas.items()))
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


_NULL = "\0null"


def _example(value: BaseModel, **options: Any) -> Any:
    """As it goes over the wire. The framework drops every null from the document, so here they are disguised."""

    def disguised(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: disguised(item) for name, item in node.items()}
        if isinstance(node, list):
            return [disguised(item) for item in node]
        return _NULL if node is None else node

    return disguised(shown(value, **options))


def _with_nulls(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _with_nulls(item) for name, item in node.items()}
    if isinstance(node, list):
        return [_with_nulls(item) for item in node]
    return None if node == _NULL else node


def _drop_the_frameworks_own_refusals(document: dict[str, Any]) -> None:
    """The framework declares a 422 of its own for any parameter; what is really refused is declared by `operation`."""
    for operations in document["paths"].values():
        for one in operations.values():
            if "application/json" in one["responses"].get("422", {}).get("content", {}):
                del one["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def render() -> str:
    """The document as it is committed."""
    import tempfile

    from api.app import create_app
    from store.settings import Settings

    with tempfile.TemporaryDirectory() as folder:  # the document depends on no setting; nothing is started
        app = create_app(Settings(data_dir=Path(folder), database_url="", broker_url=""))
        return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"wrote {FILE.name}")  # noqa: T201 - a command
