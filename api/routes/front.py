"""The front page at /, for people as HTML and for programs as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from api import front
from api.front import Facts
from api.negotiation import JSON, preferred
from api.operations import operation
from api.service import CurrentService, Service
from store import fleet, queue, schema
from store.errors import DatabaseUnavailable, SchemaMismatch

router = APIRouter(tags=["health"])

HTML = "text/html"
EXAMPLE = Facts(
    version="0.1.0",
    address="http://127.0.0.1:8000",
    status="ready",
    workers=1,
    key=front.how_to_get_a_key(Path("/home/ada/.local/share/unroll/key")),
)
ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The same facts in both forms.",
        "content": {
            JSON: {
                "schema": Facts.model_json_schema(),
                "example": EXAMPLE.model_dump(),
            },
            HTML: {"schema": {"type": "string"}},
        },
    }
}


@router.get(
    "/",
    response_class=Response,
    **operation(
        "front_page",
        "What this server is, and how to get in",
        gives=(200, "", None),
        problems=["not_acceptable"],
        also=ANSWER,
        with_key=False,
    ),
)
async def front_page(request: Request, service: CurrentService) -> Response:
    """Tell a browser (HTML) or a program (JSON) what this server is, and how to get a key. Needs no key."""
    form = preferred(request.headers.get("accept"), (JSON, HTML))
    status, workers = await service.glance.look(lambda: _state(service))
    host = request.url.hostname
    key_file = service.settings.data_dir.absolute() / "key"
    # behind a proxy everybody seems to sit at this machine
    forwarded = any(name in {"forwarded", "via"} or name.startswith("x-forwarded") for name in request.headers)
    told = (
        service.settings.embedded
        and not forwarded
        and front.of_this_machine(request.client and request.client.host, host)
    )
    shown = key_file if told and key_file.is_file() else None
    facts = Facts(
        version=request.app.version,
        address=str(request.base_url).rstrip("/"),
        status=status,
        workers=workers,
        key=front.how_to_get_a_key(shown),
    )
    headers = {"Vary": "Accept", "Cache-Control": "no-store"}
    if form == JSON:
        return JSONResponse(facts.model_dump(), headers=headers)
    return HTMLResponse(front.page(facts, shown), headers=headers | {"Content-Security-Policy": front.POLICY})


def _state(service: Service) -> front.State:
    try:
        schema.check(service.db)
        workers = sum(fleet.count_alive(service.db, service.alive_seconds).values())
    except (DatabaseUnavailable, SchemaMismatch):
        return "not_ready", None
    return "ready" if queue.reachable(service.settings) else "degraded", workers
