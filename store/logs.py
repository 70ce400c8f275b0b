"""Writes each log line of the API and of the workers as one JSON object.

A line has what is true of all that its thread or task does (`about`): in a worker the job, its attempt and the trace
context of the request that submitted it.

The API's lines are written by a thread of their own (`Background`), so that nobody who waits for an answer waits for
whoever reads the log.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

API = ("unroll", "store")
"""The loggers of the API process: its own, and those of what it shares with workers. uvicorn has its own format."""
EVERYTHING = ("",)

MOST_BYTES = 4 * 1024 * 1024
"""Lines that wait to be written; what comes beyond is dropped and counted."""
GATHER_SECONDS = 0.02
"""Time for which a line may wait for others, to be written with them."""
FLUSH_SECONDS = 3.0
"""Longest wait at the end of the process for lines that were not written."""
ATOMIC_BYTES = select.PIPE_BUF
"""So much is written to a pipe in one piece, whoever else writes to it."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_encode = json.JSONEncoder(default=str).encode
_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))


class JSONLines(logging.Formatter):
    """Formats time, level, logger, message, `about`, all `extra` values, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _about.get()
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _encode(line)


class Background(logging.Handler):
    """Keeps formatted lines until a thread writes them, in their order.

    If nobody reads what is written, MOST_BYTES of lines are kept and further ones dropped, and a line says how many.
    """

    def __init__(self, descriptor: int = 2, most_bytes: int = MOST_BYTES) -> None:
        """Start the thread, which writes to the file `descriptor`."""
        super().__init__()
        self.setFormatter(JSONLines())
        self._descriptor, self._most = descriptor, most_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = self._dropped = 0
        # not the handler's own lock, which is held while logging waits in `flush` at the end of the process
        self._buffer, self._wake, self._idle = threading.Lock(), threading.Event(), threading.Event()
        self._idle.set()
        threading.Thread(target=self._write_for_ever, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line for the thread."""
        try:
            line = self.format(record).encode() + b"\n"
        except Exception:  # noqa: BLE001 - as every handler of logging
            self.handleError(record)
            return
        with self._buffer:
            # once something was dropped, lines are taken again when half of the others is written
            if self._bytes + len(line) > (self._most // 2 if self._dropped else self._most):
                self._dropped += 1
                return
            self._tell_dropped()
            self._keep(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Wait until everything is written, but not longer than FLUSH_SECONDS. Logging calls it at the end."""
        self._idle.wait(FLUSH_SECONDS)

    def _keep(self, line: bytes) -> None:
        self._idle.clear()
        self._waiting.append(line)
        self._bytes += len(line)

    def _tell_dropped(self) -> None:
        if self._dropped:
            message = f"{self._dropped} lines were dropped here, because nobody read them in time"
            told = logging.LogRecord(__name__, logging.WARNING, "", 0, message, None, None)
            told.dropped, self._dropped = self._dropped, 0
            self._keep(JSONLines().format(told).encode() + b"\n")

    def _write_for_ever(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(GATHER_SECONDS)
            self._wake.clear()
            while piece := self._next():
                self._write(piece)

    def _next(self) -> bytes:
        """Return whole lines, together no longer than what is written in one piece; empty: nothing waits."""
        with self._buffer:
            if not self._waiting:
                self._tell_dropped()
            piece = bytearray()
            while self._waiting and (not piece or len(piece) + len(self._waiting[0]) <= ATOMIC_BYTES):
                piece += self._waiting.popleft()
            self._bytes -= len(piece)
            if not piece:
                self._idle.set()
            return bytes(piece)

    def _write(self, piece: bytes) -> None:
        while piece:
            try:
                piece = piece[os.write(self._descriptor, piece) :]
            except BlockingIOError:  # somebody who shares the file has made it one that does not wait
                time.sleep(GATHER_SECONDS)
            except OSError:  # nobody will ever read it
                return


def configure(level: str, loggers: tuple[str, ...], handler: logging.Handler | None = None) -> None:
    """Write these loggers' lines to standard error. Logging that is already configured is not changed."""
    if handler is None:
        handler = logging.StreamHandler()
        handler.setFormatter(JSONLines())
    for name in loggers:
        logger = logging.getLogger(name)
        logger.setLevel(level.upper())
        if not logger.handlers:
            logger.addHandler(handler)
            logger.propagate = False


def about(**values: object) -> None:
    """Add these values, and no others any more, to every line that this thread or task logs from now on."""
    _about.set(values)


def sane(traceparent: str | None) -> str | None:
    """Return a W3C trace context if it has the right form, otherwise None."""
    return traceparent if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) else None


def trace(traceparent: str | None) -> dict[str, str]:
    """Return a trace context as fields of log lines: the trace, and the span that asked for this. Empty if not sane."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return {} if found is None else {"trace_id": found[1], "span_id": found[2]}
