"""/v1/workers and /v1/queues: who works, and what waits."""

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
        "Workers heard of lately",
        gives=(200, "All of them.", examples.WORKERS),
        problems=["missing_scope"],
    ),
)
def list_workers(asker: Reader, service: CurrentService) -> Page[Worker]:
    """The job of one is shown where it is the asking tenant's."""
    return Page[Worker](data=fleet.list_workers(service.db, asker.tenant, service.alive_seconds))


@router.get(
    "/queues",
    **operation(
        "list_queues",
        "Jobs waiting and running",
        gives=(200, "By the device they ask for.", examples.QUEUES),
        problems=["missing_scope"],
    ),
)
def list_queues(_asker: Reader, service: CurrentService) -> Page[Queue]:
    """Counts are over all tenants: that is what a job waits behind."""
    return Page[Queue](data=fleet.list_queues(service.db, service.alive_seconds))
