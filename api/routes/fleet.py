"""/v1/workers and /v1/queues: the workers, and the jobs that wait."""

from __future__ import annotations

from fastapi import APIRouter

from api import examples
from api.auth import Reader
from api.negotiation import JSON, offers
from api.operations import operation
from api.service import CurrentService
from store import fleet
from unroll.contract import Page, Queue, Worker

router = APIRouter(prefix="/v1", tags=["fleet"], dependencies=[offers(JSON)])


@router.get(
    "/workers",
    **operation(
        "list_workers",
        "Workers that reported recently",
        gives=(200, "All of them.", examples.WORKERS),
        problems=["missing_scope"],
    ),
)
def list_workers(asker: Reader, service: CurrentService) -> Page[Worker]:
    """List the workers. A worker's job is shown if it belongs to your tenant."""
    return Page[Worker](data=fleet.list_workers(service.db, asker.tenant, service.alive_seconds))


@router.get(
    "/queues",
    **operation(
        "list_queues",
        "Jobs waiting and running",
        gives=(200, "Counts for each requested device.", examples.QUEUES),
        problems=["missing_scope"],
    ),
)
def list_queues(_asker: Reader, service: CurrentService) -> Page[Queue]:
    """Count waiting and running jobs over all tenants, because a job waits behind all of them."""
    return Page[Queue](data=fleet.list_queues(service.db, service.alive_seconds))
