"""uvicorn's HTTP protocol, which asks for the short way before it parses a request.

Of uvicorn's protocol it uses `data_received`, `connection_lost`, `on_message_begin`, `on_headers_complete`,
`on_message_complete`, `on_response_complete` and `shutdown`, and the attributes `cycle`, `pipeline`, `flow`, `scope`,
`headers`, `parser`, `transport` and `server_state`. tests/integration/api/test_short_way.py is the contract with it.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from hashlib import blake2b
from typing import Any, NamedTuple

import uvicorn
from fastapi import FastAPI

from api.headers import HEADERS
from api.negotiation import JSON, SAFETENSORS
from api.protocol import Protocol
from api.short_way.known import Form, Head, Sender
from api.short_way.plain import MOST_BYTES, Asked, Counter

BODY_SECONDS = 0.25
"""Longest wait for the rest of a body; then the request goes the ordinary way, where bodies have their own limit."""

_PREDICT, _STEP = rb"(?:models|checkpoints)/[A-Za-z0-9._@-]{1,250}/predict", rb"sessions/[a-z0-9_]{1,40}/step"
_LINE = re.compile(rb"POST (/v1/(?:%s|%s)) HTTP/1\.1(?=\r\n)" % (_PREDICT, _STEP))
_MATCH = re.compile(rb"\r\n[Ii]f-[Mm]atch: ?\"([0-9]{1,18})\"(?=\r\n)")
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?([1-9][0-9]{0,6})(?=\r\n)")
_SECRET = secrets.token_bytes(32)
_PLAIN_HEADERS = frozenset(
    b"host user-agent accept accept-encoding accept-language connection authorization content-type if-match".split()
)
"""Other headers may mean something, so requests with them go the ordinary way."""
_GIVEN = {media_type.encode(): media_type for media_type in (JSON, SAFETENSORS)}
_TAKEN = _GIVEN | {b"application/json; charset=utf-8": JSON}
_FIXED = b"".join(b"%s: %s\r\n" % (name.lower().encode(), value.encode()) for name, value in HEADERS.items())


class _Part(NamedTuple):
    """A request with a known head, whose body has not come whole."""

    digest: bytes
    asked: Asked
    end: int
    """Where the head ends."""
    whole: int
    came: float


class ShortWay(Protocol):
    """One connection. `counter` is set by `config`."""

    counter: Counter

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._between = True  # the parser waits for a request's first byte
        self._head: Head | None = None  # of the request that the parser reads
        self._asked = False  # a request waits at the desk
        self._part = bytearray()  # of a request whose head is known
        self._of_part: _Part | None = None
        self._timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Answer a plain request, or have uvicorn read it."""
        if self._of_part is not None:
            self._continue(data)
            return
        if self._asked:
            self.counter.desk.flush()  # answers stay in order
        if self._between and self._free() and self._take(data):
            return
        super().data_received(data)

    def _free(self) -> bool:
        if self.pipeline or self.flow.write_paused or self.transport.is_closing():
            return False
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def _take(self, data: bytes) -> bool:
        """Take the request if its head is known. If not, remember the head until the ordinary way has answered."""
        line = _LINE.match(data)
        end = data.find(b"\r\n\r\n") + 4
        length = None if line is None or end < 4 else _LENGTH.search(data, 0, end - 2)
        if line is None or length is None:
            return False
        expected = _MATCH.search(data, 0, end - 2)
        cuts = sorted(found.span(1) for found in (length, expected) if found is not None)
        pieces, at = [], line.end()
        for begin, stop in cuts:
            pieces.append(data[at:begin])
            at = stop
        pieces.append(data[at:end])
        digest = blake2b(b"\0".join(pieces), digest_size=16, key=_SECRET).digest()
        asked = Asked(line[1], None if expected is None else int(expected[1]))
        whole = end + int(length[1])
        known = self.counter.known
        sender = None if int(length[1]) > MOST_BYTES or len(data) > whole else known.sender(digest)
        if sender is None:
            self._head = Head(digest, known.generation, time.monotonic())
            return False
        came = time.perf_counter()
        if len(data) == whole:
            if self._ask(sender, asked, data, end, came):
                self._unset_keepalive_if_required()
                self._arrived()
                return True
            self._head = Head(digest, known.generation, time.monotonic())
            return False
        self._unset_keepalive_if_required()
        self._arrived()
        self._part += data
        self._of_part = _Part(digest, asked, end, whole, came)
        self._timer = self.loop.call_later(BODY_SECONDS, self._give_up)
        return True

    def _continue(self, data: bytes) -> None:
        part = self._of_part
        assert part is not None  # noqa: S101 - as the caller has asked
        self._part += data
        if len(self._part) < part.whole:
            return
        raw = self._whole_part()
        known = self.counter.known
        sender = known.sender(part.digest) if len(raw) == part.whole else None
        if sender is None or not self._ask(sender, part.asked, raw, part.end, part.came):
            self._head = Head(part.digest, known.generation, time.monotonic())
            super().data_received(raw)

    def _whole_part(self) -> bytes:
        raw = bytes(self._part)
        self._part.clear()
        self._of_part = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return raw

    def _give_up(self) -> None:
        if self._of_part is not None:
            super().data_received(self._whole_part())

    def _ask(self, sender: Sender, asked: Asked, raw: bytes, end: int, came: float) -> bool:
        self._asked = self.counter.take(self, sender, asked, raw, end, came)
        return self._asked

    def answer(self, content: bytes, media_type: str, request_id: str, etag: str | None = None) -> bool:
        """See `Asker`."""
        self._asked = False
        if self.transport.is_closing():
            return False
        own = b"" if etag is None else b"etag: %s\r\n" % etag.encode()
        lines = [b"HTTP/1.1 200 OK\r\n", *(b"%s: %s\r\n" % header for header in self.server_state.default_headers)]
        lines += [own, b"content-length: %d\r\ncontent-type: %s\r\n" % (len(content), media_type.encode())]
        lines += [b"x-request-id: %s\r\n" % request_id.encode(), _FIXED, b"\r\n", content]
        self.transport.write(b"".join(lines))
        self.on_response_complete()
        return True

    def go_ordinary_way(self, raw: bytes) -> None:
        """See `Asker`."""
        self._asked = False
        if not self.transport.is_closing():
            super().data_received(raw)

    # --- what uvicorn and its parser call ---

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        self._between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request's task, and tell it the head if it is one that may be remembered."""
        super().on_headers_complete()
        head, self._head = self._head, None
        form = None if head is None else self._plain_form()
        if head is not None and form is not None:
            self.scope["state"]["head"] = head._replace(form=form)

    def on_message_complete(self) -> None:
        """End the request's body."""
        self._between = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not answered."""
        if self._of_part is not None:
            self._whole_part()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Answer what waits before the server stops."""
        if self._asked:
            self.counter.desk.flush()
        if self._of_part is not None:
            super().data_received(self._whole_part())
        super().shutdown()

    def _plain_form(self) -> Form | None:
        """Return the types that the headers name; None if there is anything else that may mean something."""
        names = [name for name, _ in self.headers]
        values = dict(self.headers)
        takes = _TAKEN.get(values.get(b"content-type", b"").lower())
        gives = takes if values.get(b"accept", b"*/*") == b"*/*" else _GIVEN.get(values[b"accept"])
        plain = (
            len(values) == len(names)
            and values.keys() - {b"content-length"} <= _PLAIN_HEADERS
            and {b"host", b"authorization"} <= values.keys()
            and values.get(b"connection", b"keep-alive").lower() == b"keep-alive"
            and self.scope["http_version"] == "1.1"
            and not self.scope["query_string"]
            and self.scope["scheme"] == "http"
        )
        return None if takes is None or gives is None or not plain else Form(takes, gives)


def config(app: FastAPI, seconds: float, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration for this server.

    `seconds` is the time in which the head of a request must arrive.
    """
    own = type("ShortWayOfOneServer", (ShortWay,), {"counter": app.state.counter, "seconds": seconds})
    return uvicorn.Config(app, http=own, **options)
