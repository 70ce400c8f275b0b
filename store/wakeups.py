"""Tells this process which journals have grown. Redis pub/sub rings at once; polling guarantees that nothing is missed.

A ring says only "look again". Because it may be lost, who listens looks every `poll_seconds` all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import redis.asyncio
from redis.exceptions import RedisError

from store.queue import BROKER_SECONDS, CHANNEL
from store.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""Interval of polling. Workers write this often; more frequent polling would slow a trainer on the same machine and
see nothing new."""
POLL_SECONDS_WHEN_RUNG = 0.5
RECONNECT_SECONDS = 1.0


class Wakeups:
    """The rings for one process, on one event loop. Without `start`, and without Redis, nobody rings."""

    def __init__(self, settings: Settings, ring: Callable[[str | None], None]) -> None:
        """Prepare without connecting.

        `ring` is called with the id of a job whose journal has grown, or with None if any journal may have grown.
        """
        self._url = settings.broker if settings.broker.startswith(("redis://", "rediss://")) else None
        self._ring = ring
        self._listener: asyncio.Task[None] | None = None
        self._connected = False

    @property
    def poll_seconds(self) -> float:
        """Longest time between two looks of whoever listens."""
        return POLL_SECONDS_WHEN_RUNG if self._connected else POLL_SECONDS

    async def start(self) -> None:
        """Begin to listen. Never raises: if the broker is away, it is searched for until it is back."""
        if self._url is not None and self._listener is None:
            self._listener = asyncio.create_task(self._listen(self._url))

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None

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
            self._ring(None)  # whatever happened while nobody listened
            while True:
                message = await channel.get_message(timeout=1.0)
                if message is not None:
                    self._ring(message["data"].decode())
