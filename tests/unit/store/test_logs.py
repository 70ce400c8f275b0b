"""Log lines are JSON, and say what they are about."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def background(most_bytes: int = logs.MOST_BYTES) -> Iterator[tuple[logging.Logger, logs.Background, int]]:
    """A logger, its handler, and what it writes to."""
    reader, writer = os.pipe()
    logger, handler = logging.getLogger("behind"), logs.Background(writer, most_bytes)
    logs.configure("info", ("behind",), handler)
    try:
        yield logger, handler, reader
    finally:
        logger.handlers.clear()
        logger.propagate = True
        os.close(reader)
        handler.flush()
        os.close(writer)


def read(reader: int, lines: int) -> list[dict[str, object]]:
    """So many lines."""
    got = b""
    while got.count(b"\n") < lines:
        got += os.read(reader, 1 << 16)
    return [json.loads(line) for line in got.splitlines()]


def test_lines_that_a_thread_writes_come_in_order_and_are_written_at_the_end():
    with background() as (logger, handler, reader):
        for i in range(200):
            logger.info("line %s", i)
        handler.flush()
        os.set_blocking(reader, False)
        assert [line["message"] for line in read(reader, 200)] == [f"line {i}" for i in range(200)]


def test_a_pipe_that_nobody_reads_stops_nobody_and_what_was_dropped_is_counted():
    with background(most_bytes=20_000) as (logger, _, reader):
        for i in range(2000):
            logger.info("line %s", i)
        numbers: list[int] = []
        dropped = 0
        while len(numbers) + dropped < 2000:
            for line in read(reader, 1):
                if line["logger"] == "behind":
                    numbers.append(int(str(line["message"]).removeprefix("line ")))
                else:
                    assert line["level"] == "warning"
                    dropped += int(str(line["dropped"]))
        assert numbers == sorted(numbers)
        assert dropped > 0
        logger.info("again")
        assert read(reader, 1)[0]["message"] == "again"
