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
    """Return what your key may do and how much of its quota is used. Every key may ask."""
    return keys.me(service.db, asker)
