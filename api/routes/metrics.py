"""/v1/jobs/{id}/metrics: curves, as JSON, CSV or Arrow."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from api import examples, tables
from api.auth import Reader
from api.negotiation import JSON, preferred
from api.operations import operation
from api.service import CurrentService
from store import metrics
from unroll.contract import Metrics

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
MEDIA_TYPES = {"json": JSON, "csv": CSV, "arrow": ARROW}


@router.get(
    "/{job_id}/metrics",
    response_model=Metrics,
    **operation(
        "get_metrics",
        "A job's curves",
        gives=(
            200,
            "The series. CSV and Arrow: one row for each point (name, replica, step, value).",
            examples.METRICS,
        ),
        or_as={CSV: examples.METRICS_CSV, ARROW: None},
        problems=["missing_scope", "not_found", "busy"],
    ),
)
def get_metrics(
    job_id: str,
    request: Request,
    asker: Reader,
    service: CurrentService,
    names: Annotated[list[str], Query(max_length=100, description="Only these metrics; may be repeated.")] = [],  # noqa: B006
    from_step: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    max_points: Annotated[
        int | None, Query(ge=4, le=200_000, description="Thin each series; end points and extremes are kept.")
    ] = None,
    format: Annotated[  # noqa: A002 - the wire's name
        Literal["json", "csv", "arrow"] | None, Query(description="Format; it has precedence over the Accept header.")
    ] = None,
) -> Response:
    """Return a job's metrics for each replica. Numbers that are not finite are null (JSON, Arrow) or empty (CSV).

    JSON has at most 200,000 values. If a job has more, the answer is a page, and `next` is the `from_step` of the
    next page. CSV and Arrow are streamed in the order of steps, without a limit. With `max_points`, all formats have at
    most 200,000 values, and a `max_points` that would give more is refused. Very long series are thinned one request at
    a time.
    """
    media_type = (
        MEDIA_TYPES[format]
        if format is not None
        else preferred(request.headers.get("accept"), list(MEDIA_TYPES.values()))
    )
    if media_type != JSON and max_points is None:
        pieces = tables.of_blocks(metrics.stream(service.db, asker.tenant, job_id, names=names, from_step=from_step))
    else:
        found = metrics.read(service.db, asker.tenant, job_id, names=names, from_step=from_step, max_points=max_points)
        if media_type == JSON:
            return Response(found.model_dump_json(), media_type=JSON)
        pieces = tables.of_series(found)
    content = tables.as_csv(pieces) if media_type == CSV else tables.as_arrow(pieces)
    return StreamingResponse(content, media_type=media_type)
