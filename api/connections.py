"""Closes connections on which no request arrives. uvicorn itself waits for ever for the head of a request.

The time for a body is `api.limits.BodyLimit`'s.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Patient(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a time limit.

    The head of a request must arrive within `seconds` of the connection or of its own first byte. So must the rest of
    a body that the answer did not wait for, after the answer.
    """

    seconds: float
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait."""
        self._arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        """Leave the body to the application."""
        self._arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop to wait for the rest of a body that was answered before it had come."""
        super().on_message_complete()
        cycle: Any = self.cycle  # None where a WebSocket begins
        if cycle is None or cycle.response_complete:
            self._arrived()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that the answer did not wait for."""
        super().on_response_complete()
        cycle: Any = self.cycle  # None where no request has come this way
        if cycle is not None and cycle.response_complete and cycle.more_body and not self.transport.is_closing():
            self._expect()

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.seconds, self.transport.close)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
