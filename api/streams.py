"""Waits for a job: event streams and `Prefer: wait`.

Nothing here holds a database connection while it waits.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from api.service import Service
from store import journal
from store.errors import DatabaseUnavailable, NotFound
from unroll.contract import Event

KEEP_ALIVE_SECONDS = 15.0
LIFE_SECONDS = 3600.0
"""A stream ends after an hour, and the client reconnects with Last-Event-ID. So a revoked key, or a client that
left without a word, does not keep the stream for ever."""
BATCH = 256
"""Number of events that are read at a time. The next batch is read when the client has taken this one, so a slow
reader costs no memory."""
LOOK_SECONDS = 0.5
"""Longest time between two looks, even if the bell is silent, so that a stop of the server is noticed."""

Seen = TypeVar("Seen")


async def events(
    service: Service, tenant: str, job_id: str, first: tuple[list[Event], bool], after: int
) -> AsyncIterator[bytes]:
    """Yield server-sent events with seq > after, beginning with `first`.

    The stream ends when the journal is closed or the job is deleted.
    """
    begin = spoken = time.monotonic()
    found, closed = first
    yield b"retry: 1000\n\n"
    async with service.wakeups.of(job_id) as bell:
        while True:
            if found:
                after = found[-1].seq
                spoken = time.monotonic()
                yield b"".join(_frame(event) for event in found)
            elif time.monotonic() - spoken >= KEEP_ALIVE_SECONDS:
                spoken = time.monotonic()
                yield b": keep-alive\n\n"
            if closed or service.stopping.is_set() or time.monotonic() - begin > LIFE_SECONDS:
                return
            if len(found) < BATCH:
                await bell.wait(LOOK_SECONDS)
            try:
                found, closed = await run_in_threadpool(
                    journal.read, service.db, tenant, job_id, after=after, limit=BATCH
                )
            except (NotFound, DatabaseUnavailable):
                return  # deleted; or the client tries again and is told


def _frame(event: Event) -> bytes:
    return f"id: {event.seq}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n".encode()


async def until(
    service: Service,
    job_id: str,
    seconds: float,
    look: Callable[[], Seen],
    done: Callable[[Seen], bool],
    gone: Callable[[], Awaitable[bool]],
) -> Seen:
    """Wait until the result of `look` is `done`, and return it.

    The wait also ends after `seconds`, when the client is gone, or when the server stops.
    """
    deadline = time.monotonic() + seconds
    async with service.wakeups.of(job_id) as bell:
        while True:
            seen = await run_in_threadpool(look)
            left = deadline - time.monotonic()
            if done(seen) or left <= 0 or service.stopping.is_set() or await gone():
                return seen
            await bell.wait(min(left, LOOK_SECONDS))
