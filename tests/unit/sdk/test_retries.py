from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, problem
from unroll import APIConnectionError, APIError, APITimeoutError, Client, NotFoundError, ServerError
from unroll._transport import Retries

LOST = Answer(cut=-1)
BUSY = problem(503, "database_unavailable")
BROKEN = problem(500, "internal_error")
GATEWAY = Answer(502, b"<html>bad gateway</html>")


@pytest.mark.parametrize("failure", [LOST, BUSY, BROKEN, GATEWAY, Answer(504), problem(429, "quota_exceeded")])
def test_a_read_is_tried_again_until_it_arrives(server: ScriptedServer, client: Client, failure: Answer) -> None:
    server.answers(failure, failure, Answer(body=examples.job()))
    assert client.jobs.get("job_1").id == "job_1"
    assert len(server.seen) == 3


@pytest.mark.parametrize("failure", [LOST, Answer(202, examples.job(), cut=20), BUSY, BROKEN, GATEWAY])
def test_every_attempt_to_submit_carries_the_same_idempotency_key(
    server: ScriptedServer, client: Client, failure: Answer
) -> None:
    server.answers(failure, failure, Answer(202, examples.job()))
    client.jobs.submit(examples.CONFIG)
    keys = [seen.headers["idempotency-key"] for seen in server.seen]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len({seen.body for seen in server.seen}) == 1


def test_two_submits_carry_different_keys_unless_the_caller_names_one(server: ScriptedServer, client: Client) -> None:
    server.script = lambda _: Answer(202, examples.job())
    for _ in range(2):
        client.jobs.submit(examples.CONFIG)
    for _ in range(2):
        client.jobs.submit(examples.CONFIG, idempotency_key="mine")
    keys = [seen.headers["idempotency-key"] for seen in server.seen]
    assert len(set(keys)) == 3
    assert keys[2:] == ["mine", "mine"]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("run 1", "U+0020 SPACE as character 4 of 5"),
        ("run-1\r\nX-Other: 1", "U+000D CARRIAGE RETURN as character 6 of 17"),
        ("z\u00fcrich", "U+00FC LATIN SMALL LETTER U WITH DIAERESIS as character 2 of 6"),
    ],
)
def test_an_idempotency_key_that_no_header_holds_is_told_by_its_character(
    server: ScriptedServer, client: Client, key: str, said: str
) -> None:
    with pytest.raises(ValueError, match=r"^the idempotency key has ") as caught:
        client.jobs.submit(examples.CONFIG, idempotency_key=key)
    assert said in str(caught.value)
    assert server.seen == []


@pytest.mark.parametrize("failure", [LOST, BROKEN, GATEWAY, Answer(504)])
def test_what_may_not_be_done_twice_is_not_sent_twice(server: ScriptedServer, client: Client, failure: Answer) -> None:
    server.answers(failure)
    with pytest.raises((APIConnectionError, ServerError)):
        client.keys.create("laptop")
    server.answers(failure)
    with pytest.raises((APIConnectionError, ServerError)):
        client.jobs.retry("job_1")
    assert len(server.seen) == 2


@pytest.mark.parametrize("refusal", [BUSY, problem(429, "quota_exceeded")])
def test_what_the_server_refused_to_do_is_sent_again(server: ScriptedServer, client: Client, refusal: Answer) -> None:
    server.answers(refusal, Answer(201, examples.key(secret="s")))
    assert client.keys.create("laptop").secret == "s"


def test_a_wrong_request_is_not_sent_again(server: ScriptedServer, client: Client) -> None:
    server.answers(problem(404, "not_found"))
    with pytest.raises(NotFoundError):
        client.jobs.get("job_2")
    assert len(server.seen) == 1


def test_the_last_error_is_raised_when_the_attempts_are_used_up(server: ScriptedServer, client: Client) -> None:
    server.script = lambda _: BUSY
    with pytest.raises(ServerError) as caught:
        client.jobs.get("job_1")
    assert caught.value.code == "database_unavailable"
    assert len(server.seen) == 5


def test_a_delete_whose_answer_was_lost_succeeds_when_the_thing_is_gone(server: ScriptedServer, client: Client) -> None:
    server.answers(LOST, problem(404, "not_found"))
    client.jobs.delete("job_1")
    server.answers(problem(404, "not_found"))
    with pytest.raises(NotFoundError):
        client.jobs.delete("job_1")


@pytest.mark.parametrize("header", ["1", "date"])
def test_retry_after_is_waited_for(server: ScriptedServer, client: Client, header: str) -> None:
    value = formatdate(time.time() + 2, usegmt=True) if header == "date" else header  # dates have whole seconds
    server.answers(Answer(503, headers={"Retry-After": value}), Answer(body=examples.job()))
    start = time.monotonic()
    client.jobs.get("job_1")
    assert 0.9 < time.monotonic() - start < 10


def test_a_retry_after_beyond_all_patience_is_an_error_at_once(server: ScriptedServer, client: Client) -> None:
    server.answers(Answer(503, headers={"Retry-After": "3600"}))
    with pytest.raises(APIError):
        client.jobs.get("job_1")


def test_waits_grow_exponentially_with_full_jitter_up_to_the_cap() -> None:
    retries = Retries(attempts=50, base=0.25, cap=8.0)
    for attempt, bound in [(1, 0.25), (2, 0.5), (3, 1.0), (10, 8.0), (40, 8.0)]:
        waits = [retries.delay(attempt) or 0.0 for _ in range(400)]
        assert max(waits) <= bound
        assert max(waits) > 0.9 * bound
        assert min(waits) < 0.1 * bound
    assert retries.delay(50) is None


def test_a_server_that_is_not_there_is_a_connection_error_that_names_it() -> None:
    with (
        Client("http://127.0.0.1:9", timeout=1.0, attempts=2) as client,
        pytest.raises(APIConnectionError, match=r"http://127\.0\.0\.1:9") as caught,
    ):
        client.me()
    assert isinstance(caught.value, ConnectionError)


def test_a_server_that_never_answers_is_a_timeout(server: ScriptedServer) -> None:
    def sleep(_: object) -> Answer:
        time.sleep(0.5)
        return Answer()

    server.script = sleep
    with Client(server.url, timeout=0.1, attempts=1) as client, pytest.raises(APITimeoutError) as caught:
        client.me()
    assert isinstance(caught.value, TimeoutError)


def test_a_long_poll_is_given_the_time_that_it_asked_for(server: ScriptedServer) -> None:
    def late(_: object) -> Answer:
        time.sleep(0.5)
        return Answer(body=examples.job(status="succeeded"))

    server.script = late
    with Client(server.url, timeout=0.3, attempts=1) as client:
        assert client.jobs.get("job_1", wait=2).status == "succeeded"
    assert server.seen[0].headers["prefer"] == "wait=2"
