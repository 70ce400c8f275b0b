"""HTTP as this server speaks it: limits on the request's line and headers, and problems for what is no HTTP.

uvicorn reads a request's line and headers before any application sees it, without a limit on their size, and answers
what it cannot read as plain text.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.connections import Patient
from api.errors import problem
from store.ids import new_id
from unroll.contract import ProblemCode

MAX_URL = 32 * 1024
MAX_HEADERS = 64 * 1024
"""Largest number of bytes in the names and values of all headers of a request."""
MAX_THROWN_AWAY = 1024 * 1024
"""A head that is too large is read to its end, so that its sender reads the answer, but not further than this."""


class Protocol(Patient):
    """uvicorn's protocol, with limits and with problem documents."""

    _sized = 0
    _refused: tuple[ProblemCode, str] | None = None

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._sized, self._refused = 0, None

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        if self._fits(len(url), MAX_URL, "uri_too_long", f"A URL may have {MAX_URL:,} bytes."):
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        detail = f"The headers of a request may have {MAX_HEADERS:,} bytes."
        if self._fits(len(name) + len(value), MAX_URL + MAX_HEADERS, "headers_too_large", detail):
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, if its head is not too large."""
        if self._refused is not None:
            raise ValueError(self._refused)  # the parser stops, and the refusal is answered
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that no application sees with a problem document, and close the connection."""
        code, detail = self._refused or ("malformed_request", msg)
        answer = problem(code, detail, request_id=new_id("req"), headers={"Connection": "close"})
        head = [STATUS_LINE[answer.status_code]]
        head += [part for name, value in answer.raw_headers for part in (name, b": ", value, b"\r\n")]
        self.transport.write(b"".join([*head, b"\r\n", bytes(answer.body)]))
        self.transport.close()

    def _fits(self, size: int, most: int, code: ProblemCode, detail: str) -> bool:
        self._sized += size
        if self._refused is None and self._sized > most:
            self._refused = code, detail
        if self._sized > MAX_THROWN_AWAY:
            raise ValueError(self._refused)
        return self._refused is None
