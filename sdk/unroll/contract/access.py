"""API keys and what each of them allows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from unroll.contract.base import Request, Response, Title
from unroll.contract.shown import Shown

Scope = Literal["read", "write", "predict", "admin"]
"""What a key allows. read: every GET. write: creating and changing models and jobs. predict: predictions. admin:
managing keys."""


class NewKey(Request):
    """A request for a new API key of your tenant."""

    name: Annotated[Title, Field(examples=["notebook"])]
    """A name by which people recognise the key: any text of up to 100 characters."""
    scopes: Annotated[list[Scope], Field(min_length=1)] = ["read", "write", "predict"]
    """What the key may do."""
    expires_at: datetime | None = None
    """When the key stops working, with a time zone. null: never."""
    max_active_jobs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Quota: the largest number of jobs submitted with this key that have not ended. null: no limit."""


def _not_null(schema: dict[str, Any]) -> None:
    """Leave null out of a schema: it is the default of a field that is not sent, and cannot be sent."""
    del schema["default"]
    schema.update(next(one for one in schema.pop("anyOf") if one != {"type": "null"}))


class ChangeKey(Request):
    """Change a key's name, scopes, expiry or quota. A field that is not sent keeps its value."""

    name: Annotated[Title | None, Field(json_schema_extra=_not_null)] = None
    scopes: Annotated[Annotated[list[Scope], Field(min_length=1)] | None, Field(json_schema_extra=_not_null)] = None
    expires_at: datetime | None = None
    max_active_jobs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Key(Response):
    """An API key without its secret."""

    id: str
    name: str
    tenant: str
    scopes: list[Scope]
    prefix: str
    """The first characters of the secret, by which people recognise the key."""
    expires_at: datetime | None
    max_active_jobs: int | None
    created_at: datetime
    last_used_at: datetime | None


class CreatedKey(Key):
    """A newly created key. Its secret is shown only in this answer."""

    secret: str


class Me(Shown, Response):
    """The key that you use, its owner, and what it may do."""

    key: Key
    active_jobs: int

    def line(self) -> str:
        """Return who you are in one line."""
        jobs = f"{self.active_jobs} active job{'' if self.active_jobs == 1 else 's'}"
        return f"key {self.key.name!r} of {self.key.tenant}: {', '.join(self.key.scopes)}; {jobs}"

    def table(self) -> dict[str, object]:
        """Return the key, its owner, and what it may do."""
        return {
            "key": self.key.name,
            "tenant": self.key.tenant,
            "scopes": self.key.scopes,
            "expires": self.key.expires_at,
            "active jobs": self.active_jobs,
            "at most": self.key.max_active_jobs,
        }
