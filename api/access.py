"""Writes the line of each request."""

from __future__ import annotations

import logging

GONE = 499
"""Status, in the log and the metrics, of a request whose client left before the answer."""

logger = logging.getLogger("unroll.access")


def access(
    method: str,
    path: str,
    status: int,
    request_id: str,
    route: str,
    seconds: float,
    key_id: str | None,
    **more: object,
) -> None:
    """Write the line of one request. Status 0 or GONE: the client left before the answer."""
    if not logger.isEnabledFor(logging.INFO):
        return
    logger.info(
        "%s %s %s",
        method,
        path,
        "gone" if status in {0, GONE} else status,
        extra={
            "request_id": request_id,
            "route": route,
            "status": status,
            "milliseconds": round(1000 * seconds, 2),
            "key": key_id,
            **more,
        },
    )
