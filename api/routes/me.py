"""/v1/me: whose key this is."""

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


@router.get("", **operation("get_me", "The asking key", gives=(200, "The key and its use.", examples.ME)))
def get_me(asker: Anyone, service: CurrentService) -> Me:
    """What it may do and how much of its quota is used. Any key may ask."""
    return keys.me(service.db, asker)
