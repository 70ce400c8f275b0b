"""Waits for a job: event streams and `Prefer: wait`.

Nothing here holds a database connection or a thread while it waits.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from api.feeds import LOOK_SECONDS
from api.service import Service
from store.errors import DatabaseUnavailable
from store.journal import Head

KEEP_ALIVE_SECONDS = 15.0
LIFE_SECONDS = 3600.0
"""A stream ends after an hour, and the client reconnects with Last-Event-ID. So a client that left without a word does
not keep the stream for ever."""

Seen = TypeVar("Seen")


async def events(service: Service, key_id: str, job_id: str, head: Head, after: int) -> AsyncIterator[bytes]:
    """Yield server-sent events with seq > after.

    The stream ends when the journal is closed or the job is deleted, when the key is revoked, and when the database
    does not answer.
    """
    begin = time.monotonic()
    yield b"retry: 1000\n\n"
    with service.feeds.follow(job_id, head, key_id) as follower:
        while time.monotonic() - begin < LIFE_SECONDS:
            try:
                found = await follower.read(after)
            except DatabaseUnavailable:
                return  # the client tries again and is told
            if found:
                after += len(found)
                yield b"".join(found)
            elif follower.over(after):
                return
            elif not await follower.wait(KEEP_ALIVE_SECONDS):
                yield b": keep-alive\n\n"


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
    seen = await run_in_threadpool(look)
    if done(seen) or seconds <= 0:
        return seen
    with service.feeds.follow(job_id) as follower:
        while (left := deadline - time.monotonic()) > 0 and not service.stopping.is_set() and not await gone():
            await follower.wait(min(left, LOOK_SECONDS))
            seen = await follower.look(look)
            if done(seen):
                break
    return seen
