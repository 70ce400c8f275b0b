"""Adds to every request its id, a line in the log and its metrics, and answers unexpected errors."""

from __future__ import annotations

import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import GONE, access
from api.errors import problem
from api.headers import HEADERS
from api.short_way.known import Known, changes_answers
from api.telemetry import Telemetry
from store import logs
from store.ids import new_id

logger = logging.getLogger("unroll.api")

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Observe:
    """The outermost ASGI middleware."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, known: Known) -> None:
        self.app = app
        self.telemetry = telemetry
        self.known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin = time.perf_counter()
        offered = Headers(scope=scope).get("x-request-id", "")
        request_id = offered if _SANE_ID.fullmatch(offered) else new_id("req")
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status, seconds = 0, 0.0

        async def headed(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], time.perf_counter() - begin
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if changes_answers(scope["method"], scope["path"]):
                    self.known.forget()  # after the commit, before the client hears of it
                if status == 200 and "head" in state and "answered_by" in state:
                    self.known.learn(state["head"], *state["answered_by"])
            await send(message)

        try:
            await self.app(scope, receive, headed)
        except ClientDisconnect:
            # a client that leaves in the middle of its body is no failure, and nobody reads an answer
            status = status or GONE
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"], extra={"request_id": request_id})
            if status:
                raise  # the answer has begun; the server cuts the connection, so that nobody takes it for whole
            answer = problem(
                "internal_error",
                "Something unexpected happened; the log has the details under this request's id.",
                request_id=request_id,
                instance=scope["path"],
            )
            await answer(scope, receive, headed)
        finally:
            route = _template(scope)
            self.telemetry.answered(_method(scope), route, status, seconds or time.perf_counter() - begin)
            passed = time.perf_counter() - begin
            trace = logs.trace(Headers(scope=scope).get("traceparent"))
            access(scope["method"], scope["path"], status, request_id, route, passed, state.get("key_id"), **trace)


def _method(scope: Scope) -> str:
    """Return the method as a label. A method that a client invented must not become a label of its own."""
    method: str = scope["method"]
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "other"


def _template(scope: Scope) -> str:
    """Return the route's path with the names of its parameters, so that metrics do not grow with ids."""
    return getattr(scope.get("route"), "path", None) or "unmatched"
