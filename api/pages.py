"""Keeps the pages of journals that event streams read, each read from the database once for all streams.

An entry never changes, so what was read stays right. Only the last page of a journal grows.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice

from anyio import CapacityLimiter, to_thread

from store import journal
from store.db import Database
from unroll.contract import Event

PAGE = 256
"""Number of entries on a page."""
MAX_BYTES = 16 * 1024 * 1024
"""Size of all pages together; those that were used last stay."""
CHUNK_BYTES = 32 * 1024
"""Size after which no further entry is sent to a stream at once. A reader that stalls costs this much, beside what the
server and the system hold for its connection."""
THREADS = 2
"""Number of pages that are read at once. Streams that are far behind must not take all threads and connections."""


@dataclass
class _Page:
    frames: list[bytes] = field(default_factory=list)
    size: int = 0

    def chunk(self, begin: int) -> list[bytes]:
        taken, size = [], 0
        for frame in islice(self.frames, begin, None):
            taken.append(frame)
            size += len(frame)
            if size >= CHUNK_BYTES:
                break
        return taken


class Pages:
    """The journals' entries as server-sent events."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._pages: OrderedDict[tuple[str, int], _Page] = OrderedDict()
        self._reading: dict[tuple[str, int], asyncio.Task[_Page]] = {}
        self._size = 0
        self._threads = CapacityLimiter(THREADS)

    async def read(self, job_id: str, after: int, limiter: CapacityLimiter | None = None) -> list[bytes]:
        """Return the next events with seq > after, each as bytes: one at least, unless the journal has none.

        `limiter` is what a read of the database may wait for, instead of the other reads. Raises DatabaseUnavailable.
        """
        key, begin = (job_id, after // PAGE), after % PAGE
        page = self._pages.get(key)
        while page is None or len(page.frames) <= begin:
            reading = self._reading.get(key)
            # another's read may have begun before the entry was written
            ours = reading is None
            if reading is None:
                reading = self._reading[key] = asyncio.create_task(self._read(key, limiter or self._threads))
                reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            page = await asyncio.shield(reading)
            if ours:
                break
        return page.chunk(begin)

    async def close(self) -> None:
        """Wait for the reads that are under way, so that the database can be closed."""
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def _read(self, key: tuple[str, int], limiter: CapacityLimiter) -> _Page:
        job_id, number = key
        page = self._pages.get(key) or _Page()
        have = len(page.frames)
        try:
            new = await to_thread.run_sync(self._frames, job_id, number * PAGE + have, PAGE - have, limiter=limiter)
        finally:
            del self._reading[key]
        page.frames += new
        self._size -= page.size if key in self._pages else 0
        page.size += sum(map(len, new))
        self._size += page.size
        self._pages[key] = page
        self._pages.move_to_end(key)
        while self._size > MAX_BYTES and len(self._pages) > 1:
            self._size -= self._pages.popitem(last=False)[1].size
        return page

    def _frames(self, job_id: str, after: int, limit: int) -> list[bytes]:
        return [frame(event) for event in journal.entries(self._db, job_id, after=after, limit=limit)]


def frame(event: Event) -> bytes:
    """Return the event as it is sent."""
    return f"id: {event.seq}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n".encode()
