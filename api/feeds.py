"""Tells event streams and waiting requests that their job's journal has grown: one reader for all of this process.

A stream is a position in a journal. One task asks the database how far the followed journals go, in one query for all
jobs, reads what is new once, and wakes whoever waits for it. A stream that lags, or that begins far back, takes the
pages between (api/pages.py). So nothing is skipped, nothing is sent twice, and a slow reader costs a position.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

from api.pages import Pages
from store import journal, keys
from store.db import Database
from store.errors import DatabaseUnavailable
from store.journal import Head
from store.settings import Settings
from store.wakeups import Wakeups

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Longest time between two looks, so that a stop of the server is noticed."""
LEAST_SECONDS = 0.05
"""Shortest time between two looks, however often it rings."""
KEY_SECONDS = 5.0
"""Interval at which the keys of all streams are looked up. The stream of a key that was revoked then ends."""
OUTAGE_SECONDS = 5.0
"""Time without the database after which streams end. Their clients come back and are told."""
AT_ONCE, PAUSE_SECONDS = 16, 0.003
"""Number of streams that are woken at a time, and the time until the next ones are. A thousand streams that are woken
together would keep every other request waiting until the last of them has written."""

Seen = TypeVar("Seen")


@dataclass(eq=False)
class _Feed:
    """One followed job."""

    job_id: str
    head: Head | None = None
    """How far the journal goes; None: nobody has asked yet."""
    followers: set[Follower] = field(default_factory=set)
    looking: asyncio.Task[Any] | None = None


class Follower:
    """Somebody who waits for a job. `Feeds.follow` makes it."""

    def __init__(self, feed: _Feed, pages: Pages, key_id: str | None) -> None:
        self._feed, self._pages, self.key_id = feed, pages, key_id
        self._woken = asyncio.Event()
        self._cut = False

    async def read(self, after: int) -> list[bytes]:
        """Return the next entries with seq > after, as server-sent events; none if there are none yet.

        Raises DatabaseUnavailable.
        """
        head = self._feed.head
        if self._cut or head is None or head.seq <= after:
            return []
        found = await self._pages.read(self._feed.job_id, after)
        if not found:
            self.cut()  # it was deleted
        return found

    def over(self, after: int) -> bool:
        """Return whether nothing will follow `after`: the job has ended or was deleted, or the stream must end."""
        head = self._feed.head
        return self._cut or (head is not None and head.ended and head.seq <= after)

    async def wait(self, seconds: float) -> bool:
        """Wait until there is more to read, or something ended. Returns False after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    async def look(self, look: Callable[[], Seen]) -> Seen:
        """Return what `look` finds. All who wait for the same job share one look at a time."""
        looking = self._feed.looking
        if looking is None or looking.done():
            looking = self._feed.looking = asyncio.create_task(to_thread.run_sync(look))
            looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        found: Seen = await asyncio.shield(looking)
        return found

    def wake(self) -> None:
        """End the present wait, or the next one."""
        self._woken.set()

    def cut(self) -> None:
        """Let the stream end here."""
        self._cut = True
        self.wake()


class Feeds:
    """All followed jobs of one process, on one event loop. It reads only while somebody follows."""

    def __init__(self, settings: Settings, db: Database, stopping: asyncio.Event) -> None:
        self._db, self._stopping = db, stopping
        self._wakeups = Wakeups(settings, self._ring)
        self._pages = Pages(db)
        self._feeds: dict[str, _Feed] = {}
        self._rung: set[str] = set()
        self._bell = asyncio.Event()
        self._closing = False
        self._due = self._keys_due = 0.0
        self._woken: dict[Follower, None] = {}  # in their order, each once
        self._thread = CapacityLimiter(1)  # one of its own: it must not wait for requests, nor they for it
        self._reader: asyncio.Task[None] | None = None
        self._waker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen for rings."""
        await self._wakeups.start()

    async def close(self) -> None:
        """End everything that follows."""
        await self._wakeups.close()
        self._closing = True
        self._bell.set()
        if self._reader is not None:
            await self._reader  # not cancelled: its thread would still use the database
        await self._pages.close()

    @contextmanager
    def follow(self, job_id: str, head: Head | None = None, key_id: str | None = None) -> Iterator[Follower]:
        """Follow a job, as far as is known at `head`. The caller must have checked access.

        If `key_id` is given, following ends when that key can no longer read.
        """
        feed = self._feeds.setdefault(job_id, _Feed(job_id))
        follower = Follower(feed, self._pages, key_id)
        feed.followers.add(follower)
        if head is not None and (feed.head is None or feed.head.seq < head.seq):
            feed.head = head
            self._wake(feed)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        try:
            yield follower
        finally:
            feed.followers.discard(follower)
            if not feed.followers and self._feeds.get(job_id) is feed:
                del self._feeds[job_id]

    def _ring(self, job_id: str | None) -> None:
        if job_id is None:
            self._due = 0.0
        elif job_id in self._feeds:
            self._rung.add(job_id)
        else:
            return
        self._bell.set()

    def _cut_all(self) -> None:
        for feed in self._feeds.values():
            for follower in feed.followers:
                follower.cut()

    async def _read(self) -> None:
        """Look again and again, until nobody follows any more or the server stops."""
        well = time.monotonic()
        try:
            while self._feeds:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(max(self._due - time.monotonic(), 0.0), LOOK_SECONDS)):
                        await self._bell.wait()
                self._bell.clear()
                if self._closing or self._stopping.is_set():
                    return
                try:
                    await self._look()
                    await self._check_keys()
                    well = time.monotonic()
                except DatabaseUnavailable as error:
                    if time.monotonic() - well > OUTAGE_SECONDS:
                        log.warning("event streams end, as the database does not answer: %s", error)
                        self._cut_all()
                await asyncio.sleep(LEAST_SECONDS)
        except Exception:
            log.exception("the reader of the journals failed; event streams end")
        finally:
            self._cut_all()  # whoever still follows comes back

    async def _look(self) -> None:
        """Read what is new in the journals that rang, or in all of them if that is due."""
        now = time.monotonic()
        wanted = list(self._feeds) if now >= self._due else list(self._rung)
        self._rung.clear()
        if now >= self._due:
            self._due = now + self._wakeups.poll_seconds
        if not wanted:
            return
        heads = await to_thread.run_sync(journal.heads, self._db, wanted, limiter=self._thread)
        for job_id in wanted:
            feed, head = self._feeds.get(job_id), heads.get(job_id)
            if feed is None:
                continue
            if head is None:
                for follower in feed.followers:
                    follower.cut()
            elif feed.head is None or head.seq > feed.head.seq:
                before, feed.head = feed.head, head
                if before is not None:  # most who wait have read up to here; now they find the rest in memory
                    await self._pages.read(job_id, before.seq, self._thread)
                self._wake(feed)

    async def _check_keys(self) -> None:
        if time.monotonic() < self._keys_due:
            return
        followers = [follower for feed in self._feeds.values() for follower in feed.followers if follower.key_id]
        used = {follower.key_id for follower in followers if follower.key_id}
        if used:
            able = await to_thread.run_sync(keys.able, self._db, used, "read", limiter=self._thread)
            for follower in followers:
                if follower.key_id not in able:
                    follower.cut()
        self._keys_due = time.monotonic() + KEY_SECONDS

    def _wake(self, feed: _Feed) -> None:
        self._woken |= dict.fromkeys(feed.followers)
        if self._waker is None or self._waker.done():
            self._waker = asyncio.create_task(self._wake_in_turn())

    async def _wake_in_turn(self) -> None:
        while self._woken:
            for follower in list(islice(self._woken, AT_ONCE)):
                del self._woken[follower]
                follower.wake()
            await asyncio.sleep(PAUSE_SECONDS)
