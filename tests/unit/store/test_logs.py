"""Log lines are JSON, and say what they are about."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from store import logs

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the logger `told` writes."""
    stream, logger = io.StringIO(), logging.getLogger("told")
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("info", ("told",))
    yield stream
    logger.handlers.clear()
    logger.propagate = True
    logs.about()


def lines(written: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_lines_say_what_they_are_about_until_it_is_something_else(written: io.StringIO):
    logger = logging.getLogger("told")
    logs.about(job="job_1", attempt=2, **logs.trace(TRACE))
    logger.info("a\nb %s", "ü")
    logs.about()
    logger.warning("after", extra={"job": "job_2"})
    first, second = lines(written)
    assert first | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "told",
        "message": "a\nb ü",
        "job": "job_1",
        "attempt": 2,
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
    }
    assert second["job"] == "job_2"
    assert "trace_id" not in second


def test_another_thread_is_about_something_else(written: io.StringIO):
    logs.about(job="job_1")
    thread = threading.Thread(target=lambda: logging.getLogger("told").info("a heartbeat"))
    thread.start()
    thread.join()
    assert "job" not in lines(written)[0]


def test_a_traceback_is_a_field(written: io.StringIO):
    try:
        int("x")
    except ValueError:
        logging.getLogger("told").exception("it failed")
    assert "ValueError: invalid literal" in str(lines(written)[0]["traceback"])


@pytest.mark.parametrize("odd", [None, "", "00-abc-def-01", TRACE.upper(), TRACE + "\n", f"{TRACE}, x"])
def test_what_is_no_trace_context_is_left_out(odd: str | None):
    assert logs.sane(odd) is None
    assert logs.trace(odd) == {}
    assert logs.sane(TRACE) == TRACE
