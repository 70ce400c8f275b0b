"""The error codes. Every failed request answers a Problem (RFC 9457) with one of them."""

from __future__ import annotations

from typing import Literal

from unroll.contract.base import Response
from unroll.contract.quotas import LimitName

ProblemCode = Literal[
    "malformed_request",
    "unauthorized",
    "key_expired",
    "missing_scope",
    "not_found",
    "method_not_allowed",
    "not_acceptable",
    "request_timeout",
    "name_conflict",
    "model_in_use",
    "job_not_ended",
    "invalid_transition",
    "no_checkpoint",
    "session_expired",
    "step_out_of_order",
    "body_too_large",
    "uri_too_long",
    "headers_too_large",
    "range_not_satisfiable",
    "unsupported_media_type",
    "validation_failed",
    "idempotency_key_reused",
    "quota_exceeded",
    "internal_error",
    "database_unavailable",
    "storage_full",
    "storage_failed",
    "read_only",
    "busy",
    "time_limit_exceeded",
]

STATUS: dict[ProblemCode, int] = {
    "malformed_request": 400,
    "unauthorized": 401,
    "key_expired": 401,
    "missing_scope": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "request_timeout": 408,
    "name_conflict": 409,
    "model_in_use": 409,
    "job_not_ended": 409,
    "invalid_transition": 409,
    "no_checkpoint": 409,
    "session_expired": 410,
    "step_out_of_order": 412,
    "body_too_large": 413,
    "uri_too_long": 414,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "validation_failed": 422,
    "idempotency_key_reused": 422,
    "quota_exceeded": 429,
    "headers_too_large": 431,
    "internal_error": 500,
    "database_unavailable": 503,
    "storage_full": 503,
    "storage_failed": 503,
    "read_only": 503,
    "busy": 503,
    "time_limit_exceeded": 503,
}

RETRYABLE: frozenset[ProblemCode] = frozenset(
    {"request_timeout", "quota_exceeded", "database_unavailable", "storage_full", "read_only", "internal_error", "busy"}
)
"""Codes after which the same request may succeed later."""


class FieldError(Response):
    """What is wrong with one field."""

    pointer: str
    """JSON Pointer (RFC 6901) into the body; `?name` for a query parameter, `#name` for a header."""
    detail: str
    code: str
    """A stable code, for example `missing`, `extra_forbidden`, `less_than_equal`, `unknown_task`."""


class Problem(Response):
    """An error, sent as application/problem+json."""

    type: str
    """urn:unroll:problem:CODE"""
    title: str
    status: int
    code: ProblemCode
    detail: str
    instance: str | None = None
    """The path of the request."""
    request_id: str
    retryable: bool
    limit: LimitName | None = None
    """With the code `quota_exceeded`: the limit that is reached, one of those that /v1/me tells."""
    errors: list[FieldError] = []
