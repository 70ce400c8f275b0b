"""One budget of memory for all requests in flight: their bodies, what is parsed of them, and their answers.

What a request will need is reserved before it is taken, and given back when the request has ended, however it ends.
Beyond the budget a request is refused with `busy` (503, Retry-After), so that no number of clients takes more.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import Refused

PER_VALUE, PER_LIST, PER_FIELD = 40, 72, 400
"""Bytes of Python objects for each comma, bracket and colon of JSON: a number in its list, a list, an entry of an
object with its names."""


_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def return_freed_memory() -> None:
    """Tell glibc to give large blocks back to the system when they are freed, and not to keep some for each thread.

    Otherwise every thread that once parsed a large body keeps its memory. Elsewhere than on glibc nothing is done.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 2)
        library.mallopt(_M_MMAP_THRESHOLD, 256 * 1024)


class Budget:
    """Counts the bytes that all requests of one process have reserved. It is safe to use from many threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._lock = threading.Lock()

    def take(self, size: int, own: int) -> bool:
        """Reserve bytes for a request that has `own` already; return whether they are there.

        A request that is alone gets what it asks for, because each is limited by itself: none is refused for ever.
        """
        with self._lock:
            if self.taken + size > self.most and self.taken > own:
                return False
            self.taken += size
            return True

    def give_back(self, size: int) -> None:
        """Return bytes to the others."""
        with self._lock:
            self.taken -= size


class Held:
    """What one request has reserved."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def take(self, size: int) -> None:
        """Reserve this many more bytes until the request ends. Refuses busy."""
        if not self._budget.take(size, self._size):
            detail = f"Requests in flight hold all of the {self._budget.most:,} bytes that they share; try again."
            raise Refused("busy", detail)
        self._size += size

    def give_back(self) -> None:
        """Return everything."""
        self._budget.give_back(self._size)
        self._size = 0


class HoldMemory:
    """ASGI middleware that gives every request a `Held`, and returns what it reserved when the request has ended."""

    def __init__(self, app: ASGIApp, budget: Budget) -> None:
        self.app = app
        self.budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held = Held(self.budget)
        scope.setdefault("state", {})["held"] = held
        try:
            await self.app(scope, receive, send)
        finally:
            held.give_back()


async def of_request(request: Request) -> Held:
    """Return what the request has reserved, to reserve more."""
    held: Held = request.state.held
    return held


CurrentMemory = Annotated[Held, Depends(of_request)]


def parsed_bytes(content: bytes | bytearray) -> int:
    """Return about how much memory a JSON document takes as Python objects."""
    return PER_VALUE * content.count(b",") + PER_LIST * content.count(b"[") + PER_FIELD * content.count(b":")
