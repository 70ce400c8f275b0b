"""Answers every error as application/problem+json (RFC 9457), with a code of the contract.

Routes raise `Refused` or let the store's errors pass. `observe` catches unexpected errors, logs them with their
traceback, and answers internal_error, which tells the client only the request's id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from api.pointers import of_parameters
from store.errors import DatabaseUnavailable, QuotaExceeded, StoreError, TornBlob
from unroll.contract import RETRYABLE, STATUS, FieldError, LimitName, Problem, ProblemCode
from unroll.contract.suggestions import did_you_mean
from unroll.contract.wording import shown

logger = logging.getLogger("unroll.api")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER: dict[ProblemCode, int] = {
    "quota_exceeded": 10,
    "database_unavailable": 2,
    "storage_full": 10,
    "read_only": 10,
    "busy": 5,
}
"""Seconds to wait before a retry: a quota is freed when a job ends, a database comes back when it is restarted, a disk
gets room when somebody makes it, and a check finishes within seconds."""

TITLES: dict[ProblemCode, str] = {
    "malformed_request": "The request cannot be read",
    "unauthorized": "A valid key is required",
    "key_expired": "The key has expired",
    "missing_scope": "The key's scopes do not allow this",
    "not_found": "This does not exist",
    "method_not_allowed": "The method is not allowed here",
    "not_acceptable": "None of the accepted media types is available",
    "request_timeout": "The request did not arrive in time",
    "name_conflict": "The name is taken",
    "model_in_use": "The model is in use",
    "job_not_ended": "The job has not ended",
    "invalid_transition": "The job's status does not allow this",
    "no_checkpoint": "There is no checkpoint yet",
    "session_expired": "The session has expired",
    "step_out_of_order": "The session is at another step",
    "body_too_large": "The body is too large",
    "uri_too_long": "The URL is too long",
    "headers_too_large": "The headers are too large",
    "unsupported_media_type": "The body is of a type that is not taken here, or encoded in an unknown way",
    "range_not_satisfiable": "The range lies outside of the file",
    "validation_failed": "The request is not valid",
    "idempotency_key_reused": "The Idempotency-Key was used before",
    "quota_exceeded": "The quota is used up",
    "internal_error": "The server failed",
    "database_unavailable": "The database is not available",
    "storage_full": "The database's disk is full",
    "storage_failed": "The database's files cannot be read or written",
    "read_only": "The database takes no writes",
    "busy": "The server is busy",
    "time_limit_exceeded": "The request took too long",
}

_HTTP: dict[int, ProblemCode] = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    431: "headers_too_large",
}


class Refused(Exception):
    """The API refuses a request itself, without or besides the store."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})


def invalid(pointer: str, code: str, detail: str) -> Refused:
    """Return a `Refused` with code validation_failed that points at one field."""
    return Refused("validation_failed", detail, errors=[FieldError(pointer=pointer, code=code, detail=detail)])


def problem(
    code: ProblemCode,
    detail: str,
    *,
    request_id: str,
    instance: str | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    limit: LimitName | None = None,
) -> Response:
    """Return the response for a problem."""
    status = STATUS[code]
    document = Problem(
        type=f"urn:unroll:problem:{code}",
        title=TITLES[code],
        status=status,
        code=code,
        detail=detail,
        instance=instance,
        request_id=request_id,
        retryable=code in RETRYABLE,
        limit=limit,
        errors=list(errors),
    )
    sent = dict(headers or {})
    content = document.model_dump_json()
    if (instance or "").startswith("/v2"):  # the Open Inference Protocol's error, with ours beside it
        content = content[:-1] + ',"error":' + to_json(detail).decode() + "}"
    if code in RETRY_AFTER:
        sent.setdefault("Retry-After", str(RETRY_AFTER[code]))
    if status == 401:
        sent.setdefault("WWW-Authenticate", 'Bearer realm="unroll"')
    return Response(content, status, sent, MEDIA_TYPE)


def of_store(error: Exception) -> Refused:
    """Return the refusal that an error of the store is, and a refusal as it is."""
    if isinstance(error, Refused):
        return error
    assert isinstance(error, StoreError)  # noqa: S101
    detail = error.detail
    if isinstance(error, DatabaseUnavailable):
        # what the driver says names hosts and users; it is for the log
        logger.error("database unavailable: %s", error.detail)
        detail = "The database does not answer; try again."
    word = "invalid" if error.code == "validation_failed" else error.code
    errors = [] if error.pointer is None else [FieldError(pointer=error.pointer, code=word, detail=detail)]
    return Refused(error.code, detail, errors=errors)


def install(app: FastAPI) -> None:
    """Register the handlers that turn this application's errors into problems."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(TornBlob, _torn)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)


def _answer(
    request: Request,
    code: ProblemCode,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    limit: LimitName | None = None,
) -> Response:
    return problem(
        code,
        detail,
        request_id=request.state.request_id,
        instance=request.url.path,
        errors=errors,
        headers=headers,
        limit=limit,
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - what the handler is registered for
    return _answer(request, error.code, error.detail, error.errors, error.headers)


async def _store(request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)  # noqa: S101
    detail = error.detail
    if isinstance(error, DatabaseUnavailable):
        logger.error("database unavailable: %s", error.detail, extra={"request_id": request.state.request_id})
        if error.code == "database_unavailable":  # what the driver says names hosts and users; it is for the log
            detail = "The database does not answer; try again."
    word = "invalid" if error.code == "validation_failed" else error.code
    errors = [] if error.pointer is None else [FieldError(pointer=error.pointer, code=word, detail=detail)]
    if isinstance(error, QuotaExceeded):
        return _answer(request, error.code, detail, errors, {"Retry-After": str(error.seconds)}, limit=error.limit)
    return _answer(request, error.code, detail, errors)


async def _torn(request: Request, error: Exception) -> Response:
    logger.error("%s", error, extra={"request_id": request.state.request_id})
    return _answer(request, "internal_error", "The stored content of this checkpoint is damaged.")


async def _parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = of_parameters(error.errors())
    return _answer(request, "validation_failed", summary(errors), errors)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = _HTTP.get(error.status_code, "internal_error" if error.status_code >= 500 else "malformed_request")
    if code == "method_not_allowed":
        allowed = ", ".join(_methods(request)) or (error.headers or {}).get("Allow", "GET")
        return _answer(request, code, f"{request.url.path} takes {allowed}.", headers={"Allow": allowed})
    detail = _nothing_at(request) if code == "not_found" else str(error.detail)
    return _answer(request, code, detail, headers=error.headers)


def _nothing_at(request: Request) -> str:
    """Say that the path does not exist, and which path is probably meant, with the request's own names in it."""
    path = request.url.path
    given = [part for part in path.split("/") if part]
    given = given if given[:1] == ["v1"] else ["v1", *given]
    paths = set()
    for template in request.app.openapi()["paths"]:
        parts = [part for part in template.split("/") if part]
        if len(parts) == len(given):
            own = zip(parts, given, strict=True)
            paths.add("/" + "/".join(name if part.startswith("{") else part for part, name in own))
    meant = f"/{'/'.join(given)}"
    question = f" Did you mean {meant}?" if meant in paths else did_you_mean(path, sorted(paths))
    return f"There is nothing at {shown(path)}.{question}"


def _methods(request: Request) -> list[str]:
    """Return the methods that the path allows. The framework names only those of the first route that fits."""
    found: set[str] = set()
    for template, operations in request.app.openapi()["paths"].items():
        if compile_path(template)[0].match(request.url.path):
            found |= {method.upper() for method in operations}
    if "GET" in found:
        found.add("HEAD")
    return sorted(found)


def summary(errors: Sequence[FieldError]) -> str:
    """Summarise all errors in one line."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.pointer or 'The body'}: {first.detail}{more}"
