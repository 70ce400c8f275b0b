"""Writes each log line as one JSON object, for the loggers below `unroll`."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

_access = logging.getLogger("unroll.access")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JSONLines(logging.Formatter):
    """Formats time, level, logger, message, all `extra` values, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def access(
    method: str, path: str, status: int, request_id: str, route: str, seconds: float, key_id: str | None
) -> None:
    """Write the line of one request. Status 0: the client went away before the answer."""
    if not _access.isEnabledFor(logging.INFO):
        return
    _access.info(
        "%s %s %s",
        method,
        path,
        status or "gone",
        extra={
            "request_id": request_id,
            "route": route,
            "status": status,
            "milliseconds": round(1000 * seconds, 2),
            "key": key_id,
        },
    )


def configure(level: str) -> None:
    """Write this program's logs to standard error. Logging that is already configured is not changed."""
    logger = logging.getLogger("unroll")
    logger.setLevel(level.upper())
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(JSONLines())
        logger.addHandler(handler)
        logger.propagate = False
