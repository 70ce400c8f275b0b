"""/v1/jobs/{id}/artifacts: the files that a job made."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from api import examples
from api.auth import Reader
from api.errors import Refused
from api.heads import only_headers
from api.memory import CurrentMemory
from api.negotiation import JSON, byte_range, matches, offers
from api.operations import operation
from api.service import CurrentService
from store import artifacts
from unroll.contract import Artifact, Page

router = APIRouter(prefix="/v1/jobs/{job_id}/artifacts", tags=["artifacts"])


@router.get(
    "",
    dependencies=[offers(JSON)],
    **operation(
        "list_artifacts",
        "The files that a job made",
        gives=(200, "All of them, by name.", examples.ARTIFACTS),
        problems=["missing_scope", "not_found"],
    ),
)
def list_artifacts(job_id: str, asker: Reader, service: CurrentService) -> Page[Artifact]:
    """List names, sizes and hashes. Jobs make few artifacts, so there is one page."""
    return Page[Artifact](data=artifacts.list_of_job(service.db, asker.tenant, job_id))


@router.get(
    "/{name}",
    response_class=Response,
    **operation(
        "get_artifact",
        "The content of one artifact",
        gives=(200, "The file, with its media type. The ETag is the SHA-256.", None),
        or_as={"application/octet-stream": None},
        also={
            206: {"description": "The range that was asked for."},
            304: {"description": "The client has it already."},
        },
        problems=["missing_scope", "not_found", "range_not_satisfiable", "busy"],
    ),
)
def get_artifact(
    job_id: str,
    name: str,
    request: Request,
    asker: Reader,
    service: CurrentService,
    held: CurrentMemory,
    if_none_match: Annotated[str | None, Header()] = None,
    range_: Annotated[str | None, Header(alias="Range", description="`bytes=first-last`, one range.")] = None,
    if_range: Annotated[str | None, Header(description="Send the range only if this is still the ETag.")] = None,
) -> Response:
    """Return the whole content, or one range of it (RFC 9110, 14). An artifact is replaced only while its job runs."""
    artifact = artifacts.get(service.db, asker.tenant, job_id, name)
    etag = f'"{artifact.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Accept-Ranges": "bytes"}
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    wanted = byte_range(range_, artifact.size) if if_range in (None, etag) else None
    if wanted is not None and not wanted:
        raise Refused(
            "range_not_satisfiable",
            f"The file has {artifact.size:,} bytes, not the range {range_}.",
            headers={"Content-Range": f"bytes */{artifact.size}"},
        )
    headers["Content-Disposition"] = f'attachment; filename="{artifact.name}"'
    if wanted is None and only_headers(request):
        return Response(media_type=artifact.media_type, headers=headers | {"Content-Length": str(artifact.size)})
    held.take(2 * artifact.size)  # as it comes from the database, and as it is sent
    content = artifacts.content(service.db, asker.tenant, job_id, name, artifact.sha256)
    if wanted is None:
        return Response(content, media_type=artifact.media_type, headers=headers)
    headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{artifact.size}"
    return Response(content[wanted.start : wanted.stop], 206, headers, artifact.media_type)
