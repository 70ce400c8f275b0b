"""Keys: who may do what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Name, Request, Response

Scope = Literal["read", "write", "predict", "admin"]
"""read: every GET. write: models and jobs. predict: predictions. admin: keys."""


class NewKey(Request):
    """A key for this tenant."""

    name: Name
    """A name for people."""
    scopes: Annotated[list[Scope], Field(min_length=1)] = ["read", "write", "predict"]
    """What the key may do."""
    expires_at: datetime | None = None
    """With a time zone; null: never."""
    max_active_jobs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Quota: jobs that this key submitted and that have not ended; null: no limit."""


class ChangeKey(Request):
    """Change a key's name, scopes, expiry or quota; fields that are not sent stay as they are."""

    name: Name | None = None
    scopes: Annotated[list[Scope], Field(min_length=1)] | None = None
    expires_at: datetime | None = None
    max_active_jobs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Key(Response):
    """A key, without its secret."""

    id: str
    name: str
    tenant: str
    scopes: list[Scope]
    prefix: str
    """The first characters, to recognise it by."""
    expires_at: datetime | None
    max_active_jobs: int | None
    created_at: datetime
    last_used_at: datetime | None


class CreatedKey(Key):
    """A new key; its secret is shown this once."""

    secret: str


class Me(Response):
    """Whose key this is, and what it may do."""

    key: Key
    active_jobs: int
