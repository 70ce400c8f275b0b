"""Writes each log line of the API and of the workers as one JSON object.

A line has what is true of all that its thread or task does (`about`): in a worker the job, its attempt and the trace
context of the request that submitted it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

API = ("unroll", "store")
"""The loggers of the API process: its own, and those of what it shares with workers. uvicorn has its own format."""
EVERYTHING = ("",)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
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
        return json.dumps(line, default=str)


def configure(level: str, loggers: tuple[str, ...]) -> None:
    """Write these loggers' lines to standard error. Logging that is already configured is not changed."""
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
