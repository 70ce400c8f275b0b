"""Limits the size of bodies while they arrive, so that no body is stored that will be refused, and their time."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from unroll.contract import ProblemCode

LINGER_SECONDS = 1.0
"""Seconds during which the rest of a refused body is read and thrown away. If the connection were closed while the
client still sends, it would be reset, and the client would lose the answer that says why."""
BYTES_A_SECOND = 16 * 1024
"""What arrived prolongs the time for the rest at this rate. So a long body may come over a slow line, but not byte by
byte."""


class BodyTooLarge(Exception):
    """The body is larger than the limit."""


class BodyTooSlow(Exception):
    """The body did not arrive in time."""


class BodyLimit:
    """ASGI middleware that answers 413 if a body is larger than the limit, and 408 if it does not arrive in time.

    It answers 413 at once if the declared length is too large, otherwise as soon as the body passes the limit. Only the
    time in which the server waits for the client counts: `seconds` without a byte, or `seconds` in all and what the
    bytes that arrived have earned (BYTES_A_SECOND).
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self.max_bytes:
            await self._refuse(scope, receive, send, *self._too_large())
            return
        received, waited, more, started = 0, 0.0, True, False

        async def counted() -> Message:
            nonlocal received, waited, more
            if not more:
                return await receive()  # how long a client stays connected is its own affair
            begin = time.monotonic()
            try:
                async with asyncio.timeout(min(self.seconds, self.seconds + received / BYTES_A_SECOND - waited)):
                    message = await receive()
            except TimeoutError:
                if started:  # the answer did not wait for the body, and nobody is there to be told
                    return {"type": "http.disconnect"}
                raise BodyTooSlow from None
            waited += time.monotonic() - begin
            received += len(message.get("body", b""))
            more = message.get("more_body", False)
            if received > self.max_bytes:
                raise BodyTooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except BodyTooLarge:
            if started:
                raise
            await self._refuse(scope, receive, send, *self._too_large())
        except BodyTooSlow:
            detail = f"The rest of the body did not arrive in time; {received:,} bytes of it did."
            await self._refuse(scope, receive, send, "request_timeout", detail)

    def _too_large(self) -> tuple[ProblemCode, str]:
        return "body_too_large", f"A body may have {self.max_bytes:,} bytes."

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, code: ProblemCode, detail: str) -> None:
        answer = problem(
            code,
            detail,
            request_id=scope["state"]["request_id"],
            instance=scope["path"],
            headers={"Connection": "close"},
        )
        await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
        await send({"type": "http.response.body", "body": bytes(answer.body), "more_body": True})
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b""})
