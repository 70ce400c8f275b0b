"""/livez, /readyz and /metrics: for supervisors and Prometheus."""

from __future__ import annotations

import logging

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from api import examples
from api.auth import Reader
from api.errors import Refused
from api.operations import operation
from api.service import CurrentService
from store import queue, schema
from store.errors import SchemaMismatch
from unroll.contract import Readiness

router = APIRouter(tags=["health"])
logger = logging.getLogger("unroll.api")

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@router.get(
    "/livez",
    response_class=PlainTextResponse,
    **operation("livez", "The process answers", gives=(200, "It does.", None), with_key=False),
)
async def livez() -> str:
    """Answer without asking anything else. Restart the process if this does not answer."""
    return "ok\n"


@router.get(
    "/readyz",
    **operation(
        "readyz",
        "The server can take work",
        gives=(200, "It can.", examples.READY),
        problems=["database_unavailable", "storage_full", "storage_failed", "read_only"],
        with_key=False,
    ),
)
def readyz(service: CurrentService) -> Readiness:
    """Check that the database answers, has this version's schema, and takes writes (asked once in some seconds).

    A server that is not ready because nothing can be written still answers what only reads. Without the broker, jobs
    are accepted and found later.
    """
    try:
        schema.check(service.db)
    except SchemaMismatch as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says it all
        raise Refused("database_unavailable", "The database's schema is not the one of this server.") from None
    if (unwritable := service.db.writable()) is not None:
        raise unwritable
    reachable = queue.reachable(service.settings)
    return Readiness(
        status="ready" if reachable else "degraded",
        database="ok",
        broker="ok" if reachable else "unreachable",
    )


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    **operation(
        "scrape",
        "Metrics for Prometheus",
        gives=(200, "Text exposition format 0.0.4.", None),
        problems=["missing_scope"],
    ),
)
def scrape(_asker: Reader, service: CurrentService) -> Response:
    """Return metrics for Prometheus. Needs a key with the scope read, as Prometheus' `authorization` sends it."""
    return Response(service.telemetry.render(), media_type=EXPOSITION)
