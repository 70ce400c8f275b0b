"""Yields a job's events as they happen, over as many connections as needed.

The journal numbers its events 1, 2, 3, ... without gaps, so a new connection needs only the last number seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx2

from unroll._transport import Transport
from unroll._wire import decode
from unroll.contract import Event
from unroll.errors import APIConnectionError, APITimeoutError, RateLimitError, ServerError, UnexpectedAnswerError

SILENCE = 60.0
"""Seconds without a byte after which a connection counts as dead. The server sends comments more often."""
LIVED = 30.0
"""Seconds after which a broken connection counts as a good one: it received comments, even if no event came."""


def follow(transport: Transport, path: str, *, after: int, ended: Callable[[], bool]) -> Iterator[Event]:
    """Yield events with seq > `after`, each exactly once and in order.

    It ends when the job has ended and all events have come. A connection that breaks, is silent or skips a number is
    opened again after the last event that was seen. `ended` returns whether the job has ended. If an outage lasts too
    long, raises the error of the last attempt.
    """
    last, failures, failing_since = after, 0, 0.0
    final = closing = False  # the last event was `end`; the job had ended before this connection was opened
    while True:
        fresh, opened = False, time.monotonic()
        try:
            for event in _connection(transport, path, last):
                last, final, fresh, failures = event.seq, event.type == "end", True, 0
                yield event
            # The stream was closed in order. Servers also do that to move a reader on, so `end` alone is the end;
            # a retried job has several, and the server closes after the last one.
            if final or (closing and not fresh):
                return
            closing = ended()
        except (APIConnectionError, UnexpectedAnswerError, RateLimitError, ServerError) as error:
            now = time.monotonic()
            lived = now - opened > LIVED and not isinstance(error, APITimeoutError)
            if failures == 0 or lived:
                failing_since = now
            if now - failing_since > transport.retries.outage:
                if final:
                    return  # nothing is missing; only the server's goodbye was not heard
                raise
            failures += 1
            time.sleep(transport.retries.jitter(failures))
        else:
            failures = 0
            if not (fresh or closing):
                time.sleep(transport.retries.base)  # a server that keeps closing at once is not asked in a hot loop


def _connection(transport: Transport, path: str, last: int) -> Iterator[Event]:
    """Yield what one connection brings after event `last`. Raises UnexpectedAnswerError if a number is missing."""
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last:
        headers["Last-Event-ID"] = str(last)
    with transport.stream(path, headers=headers, silence=SILENCE) as response:
        if response.status_code == 204:
            return
        try:
            for message in httpx2.EventSource(response):
                if not message.data or (event := decode(Event, message.data)).seq <= last:
                    continue
                if event.seq != last + 1:
                    raise UnexpectedAnswerError(f"Event {last + 1} is missing: the stream went on with {event.seq}.")
                last = event.seq
                yield event
        except httpx2.SSEError as error:
            raise UnexpectedAnswerError(str(error)) from error
