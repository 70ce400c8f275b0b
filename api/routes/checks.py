"""/v1/checks: hand-written backpropagation through time is compared with autograd and differences."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from api import catalogue, examples
from api.auth import Writer
from api.bodies import json_body
from api.checks import ClientGone
from api.errors import Refused
from api.negotiation import JSON, offers
from api.operations import operation
from api.service import CurrentService
from store import models
from unroll.contract import Check, CheckRequest

router = APIRouter(prefix="/v1/checks", tags=["checks"], dependencies=[offers(JSON)])


@router.post(
    "",
    response_model=Check,
    **operation(
        "check_gradients",
        "Check a network's gradients",
        takes=(CheckRequest, examples.CHECK_REQUEST),
        gives=(200, "The distances, whether they pass, and the formulas.", examples.CHECK),
        problems=["missing_scope", "busy", "time_limit_exceeded"],
    ),
)
async def check_gradients(
    asker: Writer,
    service: CurrentService,
    check: Annotated[CheckRequest, Depends(json_body(CheckRequest))],
    request: Request,
) -> Response:
    """Compare hand-written backpropagation with autograd, complex steps and finite differences, on a random batch.

    Nothing is stored. The key needs the scope write, because a check computes for seconds.
    """
    named = isinstance(check.model, str)
    if isinstance(check.model, str):
        _, network = await run_in_threadpool(models.resolve, service.db, asker.tenant, check.model)
        check = check.model_copy(update={"model": network})
    await run_in_threadpool(catalogue.require_checkable, check, named=named)

    async def gone() -> bool:
        return service.stopping.is_set() or await request.is_disconnected()

    try:
        return Response(await service.checks.run(check, gone), media_type=JSON)
    except ClientGone:
        raise Refused("busy", "The server is stopping.") from None  # or the answer goes to nobody
