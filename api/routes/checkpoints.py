"""/v1/checkpoints and /v1/jobs/{id}/checkpoints: trained weights."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from api import examples
from api.auth import Reader
from api.heads import only_headers
from api.memory import CurrentMemory
from api.negotiation import JSON, matches, offers
from api.operations import operation
from api.routes.parameters import Cursor, Limit
from api.service import CurrentService
from store import checkpoints
from unroll.contract import Checkpoint, Page

router = APIRouter(prefix="/v1", tags=["checkpoints"])

SAFETENSORS = "application/octet-stream"
"""safetensors has no registered media type."""


@router.get(
    "/jobs/{job_id}/checkpoints",
    dependencies=[offers(JSON)],
    **operation(
        "list_checkpoints",
        "A job's checkpoints, newest first",
        gives=(200, "A page.", examples.CHECKPOINTS),
        problems=["missing_scope", "not_found"],
    ),
)
def list_checkpoints(
    job_id: str, asker: Reader, service: CurrentService, limit: Limit = 50, cursor: Cursor = None
) -> Page[Checkpoint]:
    """List a job's checkpoints. Each holds all replicas at one step."""
    return checkpoints.list_of_job(service.db, asker.tenant, job_id, limit=limit, cursor=cursor)


@router.get(
    "/checkpoints/{checkpoint_id}",
    dependencies=[offers(JSON)],
    **operation(
        "get_checkpoint",
        "One checkpoint",
        gives=(200, "The checkpoint.", examples.CHECKPOINT),
        problems=["missing_scope", "not_found"],
    ),
)
def get_checkpoint(checkpoint_id: str, asker: Reader, service: CurrentService) -> Checkpoint:
    """Return what a checkpoint holds and how good it is."""
    return checkpoints.get(service.db, asker.tenant, checkpoint_id)


@router.get(
    "/checkpoints/{checkpoint_id}/content",
    response_class=Response,
    dependencies=[offers(SAFETENSORS)],
    **operation(
        "get_checkpoint_content",
        "A checkpoint's weights",
        gives=(200, "safetensors: `layers.0.W_xh [R,H,I]`, `layers.0.b_x`, … The ETag is the SHA-256.", None),
        or_as={SAFETENSORS: None},
        also={304: {"description": "The client has it already."}},
        problems=["missing_scope", "not_found", "busy"],
    ),
)
def get_checkpoint_content(
    checkpoint_id: str,
    request: Request,
    asker: Reader,
    service: CurrentService,
    held: CurrentMemory,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the weights of all replicas, with constraints applied. The content of an id never changes."""
    checkpoint = checkpoints.get(service.db, asker.tenant, checkpoint_id)
    headers = {"ETag": f'"{checkpoint.sha256}"', "Cache-Control": "private, max-age=31536000, immutable"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{checkpoint.id}.safetensors"'
    if only_headers(request):
        return Response(media_type=SAFETENSORS, headers=headers | {"Content-Length": str(checkpoint.size)})
    held.take(2 * checkpoint.size)  # as it comes from the database, and as it is sent
    _, content = checkpoints.content(service.db, asker.tenant, checkpoint_id)
    return Response(content, media_type=SAFETENSORS, headers=headers)
