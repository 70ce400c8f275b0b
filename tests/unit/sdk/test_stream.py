from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, Seen, problem, serve
from unroll import APIConnectionError, Client, NotFoundError, UnexpectedAnswerError
from unroll._transport import Retries

STREAM = {"Content-Type": "text/event-stream"}


def frames(events: list[dict[str, Any]]) -> bytes:
    lines = [f"id: {e['seq']}\nevent: {e['type']}\ndata: {json.dumps(e)}\n\n: keep-alive\n\n" for e in events]
    return ("retry: 1000\n\n" + "".join(lines)).encode()


def journal(*kinds: str) -> list[dict[str, Any]]:
    return [examples.event(seq, kind) for seq, kind in enumerate(kinds, start=1)]


class Journal:
    """Serves a journal as the real server does; `cuts` says how each of the first connections fails."""

    def __init__(self, events: list[dict[str, Any]], cuts: list[int | None], batch: int | None = None) -> None:
        self.events, self.cuts, self.batch = events, list(cuts), batch

    def __call__(self, seen: Seen) -> Answer:
        if not seen.path.endswith("/events"):
            return Answer(body=examples.job(status="succeeded"))
        after = int(seen.headers.get("last-event-id", 0))
        rest = [event for event in self.events if event["seq"] > after][: self.batch]
        cut = self.cuts.pop(0) if self.cuts else None
        return Answer(200, frames(rest), STREAM, cut=cut)


@pytest.fixture(scope="module", autouse=True)
def _no_waiting() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Retries, "jitter", lambda _self, _attempt: 0.0005)
        yield


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    count=st.integers(0, 12),
    cuts=st.lists(st.one_of(st.just(-1), st.integers(0, 1500)), max_size=8),
    batch=st.one_of(st.none(), st.integers(1, 5)),
)
def test_wherever_connections_break_every_event_comes_once_and_in_order(
    count: int, cuts: list[int | None], batch: int | None
) -> None:
    events = journal(*["progress"] * count, "end")
    with serve() as server, Client(server.url, timeout=5) as client:
        server.script = Journal(events, cuts, batch)
        assert [event.seq for event in client.jobs.stream("job_1")] == list(range(1, count + 2))


def test_a_new_connection_asks_for_what_comes_after_the_last_event(server: ScriptedServer, client: Client) -> None:
    first_two = frames(journal("queued", "started"))
    server.script = Journal(journal("queued", "started", "progress", "end"), [len(first_two) + 5])
    assert [event.type for event in client.jobs.stream("job_1")] == ["queued", "started", "progress", "end"]
    assert [seen.headers.get("last-event-id") for seen in server.seen] == [None, "2"]
    assert server.seen[0].headers["accept"] == "text/event-stream"


def test_a_reader_may_begin_in_the_middle(server: ScriptedServer, client: Client) -> None:
    server.script = Journal(journal("queued", "started", "progress", "end"), [])
    assert [event.seq for event in client.jobs.stream("job_1", after=2)] == [3, 4]


def test_the_first_end_of_a_retried_job_is_not_the_last_event(server: ScriptedServer, client: Client) -> None:
    kinds = ["queued", "end", "queued", "started", "end"]
    server.script = Journal(journal(*kinds), [])
    assert [event.type for event in client.jobs.stream("job_1")] == kinds


def test_a_stream_after_the_last_event_of_an_ended_job_is_empty(server: ScriptedServer, client: Client) -> None:
    server.script = Journal(journal("queued", "end"), [])
    assert list(client.jobs.stream("job_1", after=2)) == []


def test_events_that_are_sent_twice_are_given_once(server: ScriptedServer, client: Client) -> None:
    events = journal("queued", "started", "end")
    server.answers(Answer(200, frames([events[0], events[0], events[1], events[0], *events[1:]]), STREAM))
    assert [event.seq for event in client.jobs.stream("job_1")] == [1, 2, 3]


def test_a_missing_event_is_asked_for_again(server: ScriptedServer, client: Client) -> None:
    events = journal("queued", "started", "end")
    server.answers(Answer(200, frames([events[0], events[2]]), STREAM), Answer(200, frames(events[1:]), STREAM))
    assert [event.seq for event in client.jobs.stream("job_1")] == [1, 2, 3]


def test_an_event_of_an_unknown_type_is_passed_on(server: ScriptedServer, client: Client) -> None:
    server.script = Journal(journal("queued", "fine_tuned", "end"), [])
    assert [event.type for event in client.jobs.stream("job_1")] == ["queued", "fine_tuned", "end"]


def test_busy_answers_are_outlived_and_refusals_are_not(server: ScriptedServer, client: Client) -> None:
    server.answers(*[problem(503, "database_unavailable")] * 20, Answer(200, frames(journal("end")), STREAM))
    assert [event.seq for event in client.jobs.stream("job_1")] == [1]
    server.answers(problem(404, "not_found"))
    with pytest.raises(NotFoundError):
        list(client.jobs.stream("job_1"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(cut=-1), APIConnectionError),
        (Answer(200, b"hello", {"Content-Type": "text/html"}), UnexpectedAnswerError),
    ],
)
def test_an_outage_that_lasts_too_long_ends_the_stream_with_its_cause(
    server: ScriptedServer, answer: Answer, error: type[Exception]
) -> None:
    server.script = lambda _: answer
    start = time.monotonic()
    with Client(server.url, outage=0.3) as client, pytest.raises(error):
        list(client.jobs.stream("job_1"))
    assert 0.3 < time.monotonic() - start < 10
    assert len(server.seen) > 5
