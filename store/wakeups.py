"""Waits for a job's journal to grow. Redis pub/sub rings at once; polling guarantees that nothing is missed.

A ring says only "look again". Because it may be lost, a wait never lasts longer than a poll interval.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator

import redis.asyncio
from redis.exceptions import RedisError

from store.queue import BROKER_SECONDS, CHANNEL
from store.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""Interval of polling. Workers write this often; more frequent polling would slow a trainer on the same machine and
see nothing new."""
POLL_SECONDS_WHEN_RUNG = 1.0
RECONNECT_SECONDS = 1.0


class Bell:
    """The bell of one waiter for one job."""

    def __init__(self, wakeups: Wakeups) -> None:
        """Use `Wakeups.of` to make a bell."""
        self._wakeups = wakeups
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the present wait, or the next one."""
        self._rung.set()

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109 - a wait that ends without a ring is no failure
        """Wait until it is time to look again. Returns True if the bell rang.

        Otherwise it returns after a poll interval, or after `timeout` seconds. A ring since the last wait counts, so
        what is read between two waits is never missed.
        """
        try:
            await asyncio.wait_for(self._rung.wait(), min(timeout, self._wakeups.poll_seconds))
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Wakeups:
    """The bells of one process, on one event loop. Without `start` they only poll."""

    def __init__(self, settings: Settings) -> None:
        """Prepare without connecting."""
        self._url = settings.broker if settings.broker.startswith(("redis://", "rediss://")) else None
        self._bells: defaultdict[str, set[Bell]] = defaultdict(set)
        self._listener: asyncio.Task[None] | None = None
        self._connected = False

    @property
    def poll_seconds(self) -> float:
        """Longest time that a bell stays silent before its owner looks without a ring."""
        return POLL_SECONDS_WHEN_RUNG if self._connected else POLL_SECONDS

    @contextlib.asynccontextmanager
    async def of(self, job_id: str) -> AsyncIterator[Bell]:
        """Make a bell that rings when the job's journal grows."""
        bell = Bell(self)
        self._bells[job_id].add(bell)
        try:
            yield bell
        finally:
            self._bells[job_id].discard(bell)
            if not self._bells[job_id]:
                del self._bells[job_id]

    async def start(self) -> None:
        """Begin to listen. Never raises: if the broker is away, it is searched for until it is back."""
        if self._url is not None and self._listener is None:
            self._listener = asyncio.create_task(self._listen(self._url))

    async def close(self) -> None:
        """Stop listening, and let all waiters look once more."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None
        self._ring_all()

    def _ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.ring()

    async def _listen(self, url: str) -> None:
        while True:
            try:
                await self._subscribed(url)
            except (RedisError, OSError) as error:
                log.info("live wake-ups are off, streams poll: %s", error)
            finally:
                self._connected = False
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _subscribed(self, url: str) -> None:
        client = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=BROKER_SECONDS,
            socket_connect_timeout=BROKER_SECONDS,
            socket_keepalive=True,
            # a broker that froze or whose network is gone is noticed by its missing pong
            health_check_interval=5,
        )
        async with client, client.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(CHANNEL)
            self._connected = True
            self._ring_all()  # whatever happened while nobody listened
            while True:
                message = await channel.get_message(timeout=1.0)
                if message is not None:
                    for bell in self._bells.get(message["data"].decode(), ()):
                        bell.ring()
