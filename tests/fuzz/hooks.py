"""What schemathesis is told about this service: what a refusal of a valid request means, and which ids there are."""

from __future__ import annotations

import json
import os
import re
import zlib
from typing import Any

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.rules import fits
from unroll.contract import Problem

TARGET = json.loads(os.environ["UNROLL_FUZZ_TARGET"])


@schemathesis.check
def valid_requests_are_accepted(ctx: Any, response: Any, case: Any) -> bool | None:
    """A request that its schema admits is accepted, or refused for reasons that `x-rules` lists."""
    try:
        return positive_data_acceptance(ctx, response, case)
    except RejectedPositiveData:
        errors = Problem.model_validate_json(response.content).errors
        if errors and all(map(fits, errors)):
            return None
        raise


@schemathesis.check
def failures_are_none_of_the_servers(ctx: Any, response: Any, case: Any) -> bool | None:
    """No request is answered 500; 503 only where gradient checks wait for one another."""
    del ctx
    if response.status_code < 500:
        return None
    problem = Problem.model_validate_json(response.content)
    if problem.code in {"busy", "time_limit_exceeded"} and case.operation.path == "/v1/checks":
        return None
    raise AssertionError(f"{response.status_code} {problem.code}: {problem.detail}")


_ID = re.compile(r"(job|ckpt|key)_[0-9a-z]{26}")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Let two of three random ids exist, keep the key that is used, and keep gradient checks short."""
    del context, kwargs
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    stateful = case.meta is not None and case.meta.phase.name == "stateful"
    for name, value in (case.path_parameters or {}).items():
        real = _known(case.operation.path, name)
        random = positive and not stateful and not _ID.fullmatch(str(value))
        if value == TARGET["key_id"] or (real and random and zlib.crc32(str(value).encode()) % 3):
            case.path_parameters[name] = real
    if case.operation.path == "/v1/checks" and positive and isinstance(case.body, dict):
        case.body |= {"entries": 1, "time_steps": min(case.body.get("time_steps", 8), 3)}


def _known(path: str, name: str) -> str | None:
    if path.startswith("/v1/tasks"):
        return "integrate_noise"
    return None if path.endswith("/artifacts/{name}") else TARGET["known"].get(name)
