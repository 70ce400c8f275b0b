"""/v1/jobs/{id}/metrics: curves, as JSON, CSV or Arrow."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from api import examples
from api.auth import Reader
from api.negotiation import JSON, preferred
from api.operations import operation
from api.service import Served
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
        gives=(200, "The series. CSV and Arrow have a row a point: name, replica, step, value.", examples.METRICS),
        also={},
        problems=["missing_scope", "not_found"],
    ),
)
def get_metrics(
    job_id: str,
    request: Request,
    asker: Reader,
    service: Served,
    names: Annotated[list[str], Query(description="Only these metrics; may be repeated.")] = [],  # noqa: B006
    from_step: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    max_points: Annotated[
        int | None, Query(ge=4, le=1_000_000, description="Thin each series; end points and extremes are kept.")
    ] = None,
    format: Annotated[  # noqa: A002 - the wire's name
        Literal["json", "csv", "arrow"] | None, Query(description="Before the Accept header.")
    ] = None,
) -> Response:
    """Per metric and replica. Numbers that are not finite are null (JSON, Arrow) or empty (CSV)."""
    media_type = (
        MEDIA_TYPES[format]
        if format is not None
        else preferred(request.headers.get("accept"), list(MEDIA_TYPES.values()))
    )
    found = metrics.read(service.db, asker.tenant, job_id, names=names, from_step=from_step, max_points=max_points)
    if media_type == CSV:
        return Response(_csv(found), media_type=CSV)
    if media_type == ARROW:
        return Response(_arrow(found), media_type=ARROW)
    return Response(found.model_dump_json(), media_type=JSON)


def _csv(found: Metrics) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["name", "replica", "step", "value"])
    for one in found.series:
        for step, value in zip(one.steps, one.values, strict=True):
            writer.writerow([one.name, one.replica, step, "" if value is None else repr(value)])
    return text.getvalue()


def _arrow(found: Metrics) -> bytes:
    import pyarrow as pa  # takes 0.2 s, and most processes are never asked for it

    schema = pa.schema(
        [
            ("name", pa.dictionary(pa.int32(), pa.string())),
            ("replica", pa.int32()),
            ("step", pa.int64()),
            ("value", pa.float64()),
        ]
    )
    columns: dict[str, list[object]] = {"name": [], "replica": [], "step": [], "value": []}
    for one in found.series:
        columns["name"] += [one.name] * len(one.steps)
        columns["replica"] += [one.replica] * len(one.steps)
        columns["step"] += one.steps
        columns["value"] += one.values
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
    return sink.getvalue()
