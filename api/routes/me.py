"""/v1/me: the key that you use."""

from __future__ import annotations

from fastapi import APIRouter

from api import examples
from api.auth import Anyone
from api.negotiation import JSON, offers
from api.operations import operation
from api.service import CurrentService
from store import keys
from unroll.contract import Me

router = APIRouter(prefix="/v1/me", tags=["keys"], dependencies=[offers(JSON)])


@router.get("", **operation("get_me", "Your key", gives=(200, "The key and its use.", examples.ME)))
def get_me(asker: Anyone, service: CurrentService) -> Me:
    """Return what your key may do, and the limits of the key and of its tenant beside what is used of them."""
    held, held_by_tenant = service.tallies.used(asker)
    return keys.me(
        service.db,
        asker,
        queued_by_default=service.queued_by_default,
        held=held,
        held_by_tenant=held_by_tenant,
        in_turns=service.settings.claim_order == "turns",
    )
