"""How a route describes itself for OpenAPI: what it takes, answers and refuses, with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from api.errors import MEDIA_TYPE, RETRY_AFTER, TITLES
from api.examples import shown
from unroll.contract import RETRYABLE, STATUS, FieldError, Problem, ProblemCode

REFERENCE = "#/components/schemas/{model}"
NULL = "\0null"
"""Replaces null in examples until the document is made, because the framework removes every null."""

ALWAYS: tuple[ProblemCode, ...] = (
    "malformed_request",
    "uri_too_long",
    "validation_failed",
    "headers_too_large",
    "internal_error",
)
"""Every route refuses what is no HTTP, lines that are too long, and query parameters that it does not have."""
WITH_KEY: tuple[ProblemCode, ...] = (
    "unauthorized",
    "key_expired",
    "not_acceptable",
    "quota_exceeded",
    "database_unavailable",
    "storage_full",
    "storage_failed",
    "read_only",
)
WITH_BODY: tuple[ProblemCode, ...] = (
    "request_timeout",
    "body_too_large",
    "unsupported_media_type",
    "busy",
)


def answer(model: type[BaseModel], description: str, example: BaseModel) -> dict[str, Any]:
    """Describe another successful response of a route."""
    content = {"schema": {"$ref": REFERENCE.format(model=model.__name__)}, "example": _example(example)}
    return {"description": description, "content": {"application/json": content}}


def operation(
    operation_id: str,
    summary: str,
    *,
    gives: tuple[int, str, BaseModel | None],
    takes: tuple[type[BaseModel] | tuple[type[BaseModel], ...], BaseModel] | None = None,
    takes_too: Sequence[str] = (),
    problems: Sequence[ProblemCode] = (),
    also: dict[int | str, dict[str, Any]] | None = None,
    or_as: Mapping[str, str | None] | None = None,
    with_key: bool = True,
) -> dict[str, Any]:
    """Return the keyword arguments of a route: its name, what it takes and gives, and everything that it may refuse.

    `takes` is a type, or several that are told apart by `kind`, and an example; `takes_too` are media types of
    bodies that are files. `or_as` are other media types of what it gives, with an example of those that are text.
    """
    status, description, example = gives
    codes = [*ALWAYS, *(WITH_KEY if with_key else ()), *(WITH_BODY if takes else ()), *problems]
    responses: dict[int | str, dict[str, Any]] = {status: {"description": description}}
    if example is not None:
        responses[status]["content"] = {"application/json": {"example": _example(example)}}
    for media_type, text in (or_as or {}).items():
        responses[status].setdefault("content", {})[media_type] = (
            {"schema": {"type": "string", "format": "binary"}}
            if text is None
            else {"schema": {"type": "string"}, "example": text}
        )
    responses |= also or {}
    responses |= _refusals(codes)
    extra: dict[str, Any] = {}
    if takes is not None:
        model, sent = takes
        content = {"schema": _schema(model), "example": _example(sent, exclude_unset=True)}
        files = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in takes_too}
        extra["requestBody"] = {"required": True, "content": {"application/json": content} | files}
    return {
        "operation_id": operation_id,
        "summary": summary,
        "status_code": status,
        "responses": responses,
        "openapi_extra": extra or None,
    }


def _schema(model: type[BaseModel] | tuple[type[BaseModel], ...]) -> dict[str, Any]:
    if not isinstance(model, tuple):
        return {"$ref": REFERENCE.format(model=model.__name__)}
    kinds = {one.model_fields["kind"].default: REFERENCE.format(model=one.__name__) for one in model}
    return {
        "oneOf": [{"$ref": reference} for reference in kinds.values()],
        "discriminator": {"propertyName": "kind", "mapping": kinds},
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
        if code in RETRY_AFTER:
            response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return dict(sorted(found.items(), key=lambda item: str(item[0])))


def _problem(code: ProblemCode) -> Problem:
    errors = []
    if code == "validation_failed":
        detail = "Input should be at most 16384, not 100000"
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


def _example(value: BaseModel, **options: Any) -> Any:
    """Return the example as it is sent, with nulls replaced."""

    def disguised(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: disguised(item) for name, item in node.items()}
        if isinstance(node, list):
            return [disguised(item) for item in node]
        return NULL if node is None else node

    return disguised(shown(value, **options))
