"""Runs each gradient check in a short-lived process.

So the API process never imports torch, and a check can be killed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pydantic_core import from_json, to_json

from api.errors import Refused, invalid
from unroll.contract import CheckRequest

AT_ONCE = 1
"""Number of checks that one API process runs at once; each uses a whole core."""
SECONDS = 60.0
"""Largest duration of a check. Its sizes are limited so that it takes half of this on a slow core."""
WAIT_SECONDS = 10.0
"""Longest time that a check waits for its turn."""
_LOOK_SECONDS = 0.25
_MAX_ANSWER = 64 * 1024 * 1024
COMMAND = (sys.executable, "-m", "rnn.gradient_check")


class ClientGone(Exception):
    """The client no longer waits for the answer."""


class Checks:
    """Runs gradient checks, a few at a time."""

    def __init__(
        self, command: tuple[str, ...] = COMMAND, seconds: float = SECONDS, wait: float = WAIT_SECONDS
    ) -> None:
        self._command, self._seconds, self._wait = command, seconds, wait
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def run(self, request: CheckRequest, gone: Callable[[], Awaitable[bool]]) -> bytes:
        """Run a check and return a Check as JSON.

        If `gone` reports that the client has left, the process is killed and ClientGone is raised. Refuses busy,
        time_limit_exceeded, and validation_failed for errors that only the computation shows. Raises RuntimeError if
        the process died.
        """
        try:
            await asyncio.wait_for(self._turns.acquire(), self._wait)
        except TimeoutError:
            raise Refused("busy", "Other gradient checks are running; try again.") from None
        try:
            line = await self._answer(request, gone)
        finally:
            self._turns.release()
        answer = from_json(line)
        if "refused" in answer:
            refused = answer["refused"]
            raise invalid(refused["pointer"], refused["code"], refused["detail"])
        return to_json(answer["check"])

    async def _answer(self, request: CheckRequest, gone: Callable[[], Awaitable[bool]]) -> bytes:
        child = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_MAX_ANSWER
        )
        # Its stdin stays open: the child ends when it closes, even if this process is killed.
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - pipes were asked for
        reading = asyncio.ensure_future(child.stdout.readline())
        try:
            child.stdin.write(request.model_dump_json().encode() + b"\n")
            deadline = time.monotonic() + self._seconds
            while not reading.done():
                await asyncio.wait({reading}, timeout=_LOOK_SECONDS)
                if reading.done():
                    break
                if time.monotonic() > deadline:
                    detail = f"The check took longer than {self._seconds:g} s; take fewer entries, steps or sequences."
                    raise Refused("time_limit_exceeded", detail)
                if await gone():
                    raise ClientGone
            line = reading.result()
            child.stdin.close()
            status = await asyncio.wait_for(child.wait(), 5.0)
        finally:
            reading.cancel()
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if not line.endswith(b"\n"):
            raise RuntimeError(f"the gradient check's process ended with {status} and no answer")
        return line
