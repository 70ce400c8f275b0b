"""/v1/keys: the tenant's keys, for keys with the scope admin."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api import examples
from api.auth import Admin
from api.bodies import json_body
from api.errors import Refused, invalid
from api.negotiation import JSON, offers
from api.operations import operation
from api.routes.parameters import Cursor, Limit
from api.service import CurrentService
from store import keys
from store.keys import Identity
from unroll.contract import ChangeKey, CreatedKey, FieldError, Key, NewKey, Page, Scope

router = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[offers(JSON)])


@router.post(
    "",
    **operation(
        "create_key",
        "Make a key",
        takes=(NewKey, examples.NEW_KEY),
        gives=(201, "The key, with its secret, which is never shown again.", examples.CREATED_KEY),
        problems=["missing_scope"],
    ),
)
def create_key(
    asker: Admin, service: CurrentService, new: Annotated[NewKey, Depends(json_body(NewKey))], response: Response
) -> CreatedKey:
    """Create a key for your tenant. It can have only scopes that your key has.

    A key with limits of its own cannot make keys, because it could use them beyond its limits.
    """
    _within(asker, new.scopes)
    _unlimited(asker)
    # a time without a zone is refused by the store
    if new.expires_at is not None and new.expires_at.tzinfo is not None and new.expires_at <= datetime.now(UTC):
        raise invalid("/expires_at", "expired", "A key that has expired already could never be used.")
    created = keys.create(service.db, service.settings.hash_secret, asker.tenant, new)
    response.headers["Location"] = f"/v1/keys/{created.id}"
    return created


@router.get(
    "",
    **operation(
        "list_keys",
        "Keys, newest first",
        gives=(200, "A page.", examples.KEYS),
        problems=["missing_scope"],
    ),
)
def list_keys(asker: Admin, service: CurrentService, limit: Limit = 50, cursor: Cursor = None) -> Page[Key]:
    """List your tenant's keys, without secrets."""
    return keys.list_(service.db, asker.tenant, limit=limit, cursor=cursor)


@router.get(
    "/{key_id}",
    **operation("get_key", "One key", gives=(200, "The key.", examples.KEY), problems=["missing_scope", "not_found"]),
)
def get_key(key_id: str, asker: Admin, service: CurrentService) -> Key:
    """Return one key, without its secret."""
    return keys.get(service.db, asker.tenant, key_id)


@router.patch(
    "/{key_id}",
    **operation(
        "change_key",
        "Change a key",
        takes=(ChangeKey, examples.CHANGE_KEY),
        gives=(200, "The key as it is now.", examples.KEY),
        problems=["missing_scope", "not_found"],
    ),
)
def change_key(
    key_id: str, asker: Admin, service: CurrentService, wanted: Annotated[ChangeKey, Depends(json_body(ChangeKey))]
) -> Key:
    """Change a key's name, scopes, expiry, quota or limits. A field that is not sent keeps its value.

    A key with limits of its own cannot change the limits of any key.
    """
    _within(asker, wanted.scopes or ())
    if wanted.model_fields_set & {"max_active_jobs", "limits"}:
        _unlimited(asker)
    return keys.change(service.db, asker.tenant, key_id, wanted)


@router.delete(
    "/{key_id}",
    **operation("revoke_key", "Revoke a key", gives=(204, "Revoked.", None), problems=["missing_scope", "not_found"]),
)
def revoke_key(key_id: str, asker: Admin, service: CurrentService) -> None:
    """Revoke a key at once. Jobs that it submitted continue."""
    keys.remove(service.db, asker.tenant, key_id)


def _unlimited(asker: Identity) -> None:
    if asker.limited:
        raise Refused(
            "missing_scope",
            "A key with limits of its own can neither make keys nor change limits. Another key of the tenant can, or "
            "the operator: `unroll-server key limit`.",
        )


def _within(asker: Identity, scopes: Iterable[Scope]) -> None:
    if missing := sorted(set(scopes) - asker.scopes):
        detail = f"A key cannot give what it does not have: {', '.join(missing)}."
        raise Refused(
            "missing_scope", detail, errors=[FieldError(pointer="/scopes", code="missing_scope", detail=detail)]
        )
