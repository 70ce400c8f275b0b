from __future__ import annotations

import pytest

from api.errors import Refused
from api.negotiation import matches, preferred, wait_seconds

OFFERED = ["application/json", "text/event-stream", "text/csv"]


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV", "text/csv"),
        ("text/*", "text/event-stream"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("*/*;q=0.1, text/csv;q=0.2", "text/csv"),
        ("application/json;q=0, */*", "text/event-stream"),
        ("text/html, */*;q=0.8", "application/json"),
        ("text/event-stream;charset=utf-8", "text/event-stream"),
    ],
)
def test_the_best_accepted_type_is_chosen(accept: str | None, chosen: str):
    assert preferred(accept, OFFERED) == chosen


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/html, image/*"])
def test_what_accepts_nothing_that_is_offered_is_refused(accept: str):
    with pytest.raises(Refused) as caught:
        preferred(accept, OFFERED)
    assert caught.value.code == "not_acceptable"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait=10", 10),
        ("respond-async, wait=10", 10),
        ("wait=10, respond-async", 10),
        ("return=minimal; wait = 5", 5),
        ('wait="5"', 5),
        ("Wait=5", 5),
        ("wait=61", 60),
        ("wait=0", 0),
        ("wait=-1", None),
        ("wait=soon", None),
        ("await=5", None),
    ],
)
def test_a_preference_to_wait_is_read_leniently(prefer: str | None, seconds: int | None):
    assert wait_seconds(prefer, 60) == seconds


@pytest.mark.parametrize(
    ("header", "known"),
    [(None, False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False)],
)
def test_an_etag_matches_weakly(header: str | None, *, known: bool):
    assert matches(header, '"a"') is known
