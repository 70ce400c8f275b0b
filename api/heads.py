"""Answers HEAD wherever there is a GET: with the same headers, without the body."""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MARK = "unroll.head"


class _Answered(Exception):
    """The headers are sent, and nothing that follows is needed."""


class Heads:
    """ASGI middleware that runs HEAD as GET, and stops the application as soon as its headers are sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET", _MARK: True}

        async def headers_only(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                return
            await send({"type": "http.response.body", "body": b""})
            raise _Answered

        try:
            await self.app(as_get, receive, headers_only)
        except _Answered:
            pass
        finally:
            scope.update({name: as_get[name] for name in ("route", "path_params") if name in as_get})


def only_headers(request: Request) -> bool:
    """Return whether the client asked for the headers alone, so that a large body need not be read."""
    return bool(request.scope.get(_MARK))
