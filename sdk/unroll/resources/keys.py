"""API keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from unroll._transport import Transport
from unroll._wire import decode
from unroll.contract import ChangeKey, CreatedKey, Key, Limits, NewKey, Scope
from unroll.resources.paging import Listing, path


class Keys:
    """The tenant's keys. All methods need the scope `admin`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[Scope] = ("read", "write", "predict"),
        expires_at: datetime | None = None,
        max_active_jobs: int | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
    ) -> CreatedKey:
        """Create a key. Its `secret` is shown only this once.

        The request is not repeated if the answer was lost: list the keys then.
        """
        new = NewKey(
            name=name,
            scopes=list(scopes),
            expires_at=expires_at,
            max_active_jobs=max_active_jobs,
            limits=Limits.model_validate(limits or {}),
        )
        return decode(CreatedKey, self._transport.request("POST", path("keys"), body=new).content)

    def list(self, *, limit: int | None = None) -> Listing[Key]:
        """Return all keys, without their secrets; `limit` is the size of one page."""
        return Listing(self._transport, path("keys"), Key, {"limit": limit})

    def get(self, key_id: str) -> Key:
        """Return one key."""
        return decode(Key, self._transport.request("GET", path("keys", key_id)).content)

    def update(self, key_id: str, change: ChangeKey) -> Key:
        """Change the fields that are set in `change`. Setting one to None removes the limit."""
        return decode(Key, self._transport.request("PATCH", path("keys", key_id), body=change).content)

    def limit(self, key_id: str, limits: Limits | Mapping[str, float | None]) -> Key:
        """Set the limits that are given, for example {"queued_jobs": 20, "streams": None}. None removes a limit.

        Raises PermissionDeniedError if the key of this client has limits of its own.
        """
        return self.update(key_id, ChangeKey(limits=Limits.model_validate(limits)))

    def delete(self, key_id: str) -> None:
        """Delete a key. It stops working at once."""
        self._transport.request("DELETE", path("keys", key_id))
