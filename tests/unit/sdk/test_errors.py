from __future__ import annotations

from typing import get_args

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, problem
from unroll import (
    APIError,
    AuthenticationError,
    BadRequestError,
    Client,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServerError,
    UnexpectedAnswerError,
)
from unroll.contract import STATUS, ProblemCode
from unroll.errors import BY_CODE

KINDS = {
    "malformed_request": BadRequestError,
    "key_expired": AuthenticationError,
    "missing_scope": PermissionDeniedError,
    "not_found": NotFoundError,
    "invalid_transition": ConflictError,
    "validation_failed": InvalidRequestError,
    "idempotency_key_reused": InvalidRequestError,
    "quota_exceeded": QuotaError,
    "internal_error": ServerError,
}


@pytest.mark.parametrize(("code", "kind"), KINDS.items())
def test_errors_have_a_class_by_their_code(server: ScriptedServer, code: ProblemCode, kind: type[APIError]) -> None:
    server.answers(problem(STATUS[code], code))
    with Client(server.url, attempts=1) as client, pytest.raises(APIError) as caught:
        client.me()
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.status == STATUS[code]
    assert caught.value.request_id == "req-1"


def test_every_code_of_the_contract_has_a_class() -> None:
    assert set(BY_CODE) == set(get_args(ProblemCode))


def test_a_message_points_at_the_fields_and_names_the_request(server: ScriptedServer, client: Client) -> None:
    errors = [{"pointer": "/training/steps", "detail": "must be at least 1", "code": "greater_than_equal"}]
    server.answers(problem(422, "validation_failed", body={"errors": errors}))
    with pytest.raises(InvalidRequestError) as caught:
        client.jobs.submit(examples.CONFIG)
    message = str(caught.value)
    assert "/training/steps: must be at least 1" in message
    assert "req-1" in message
    assert caught.value.errors[0].code == "greater_than_equal"


def test_a_message_says_nothing_twice(server: ScriptedServer, client: Client) -> None:
    errors = [{"pointer": "/training/steps", "detail": "must be at least 1", "code": "greater_than_equal"}]
    detail = "/training/steps: must be at least 1"
    server.answers(problem(422, "validation_failed", body={"errors": errors, "detail": detail}))
    with pytest.raises(InvalidRequestError) as caught:
        client.jobs.submit(examples.CONFIG)
    assert str(caught.value).count("must be at least 1") == 1


def test_a_code_of_a_newer_server_falls_under_its_status(server: ScriptedServer) -> None:
    server.answers(problem(429, "too_much_coffee", body={"surprise": 1}))
    with Client(server.url, attempts=1) as client, pytest.raises(RateLimitError) as caught:
        client.me()
    assert caught.value.code == "too_much_coffee"


def test_an_error_page_of_a_proxy_is_an_error_by_status_with_its_beginning(server: ScriptedServer) -> None:
    server.answers(Answer(502, b"<html>bad gateway", {"Content-Type": "text/html", "X-Request-ID": "proxy-7"}))
    with Client(server.url, attempts=1) as client, pytest.raises(ServerError, match="bad gateway") as caught:
        client.me()
    assert caught.value.problem is None
    assert caught.value.request_id == "proxy-7"
    assert caught.value.retryable


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b"{}", b'{"id": "job_1"}', b"\xff"])
def test_an_answer_that_is_not_unrolls_is_said_to_be_so(server: ScriptedServer, client: Client, body: bytes) -> None:
    server.answers(Answer(200, body))
    with pytest.raises(UnexpectedAnswerError):
        client.jobs.get("job_1")
