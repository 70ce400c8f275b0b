"""API keys and what each of them allows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from unroll.contract.base import Request, Response, Title
from unroll.contract.quotas import Allowances, Limits
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
    limits: Annotated[Limits, Field(examples=[{"queued_jobs": 20}])] = Limits()
    """What else the key may use. The limits of its tenant hold as well."""


def _not_null(schema: dict[str, Any]) -> None:
    """Leave null out of a schema: it is the default of a field that is not sent, and cannot be sent."""
    del schema["default"]
    schema.update(next(one for one in schema.pop("anyOf") if one != {"type": "null"}))


class ChangeKey(Request):
    """Change a key's name, scopes, expiry, quota or limits. A field that is not sent keeps its value."""

    name: Annotated[Title | None, Field(json_schema_extra=_not_null)] = None
    scopes: Annotated[Annotated[list[Scope], Field(min_length=1)] | None, Field(json_schema_extra=_not_null)] = None
    expires_at: datetime | None = None
    max_active_jobs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    limits: Annotated[Limits, Field(examples=[{"queued_jobs": 20}])] = Limits()
    """Limits to change. Those that are not sent keep their values, and null removes a limit."""


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
    limits: Limits = Limits()
    """The key's own limits."""
    created_at: datetime
    last_used_at: datetime | None


class CreatedKey(Key):
    """A newly created key. Its secret is shown only in this answer."""

    secret: str


class Me(Shown, Response):
    """The key that you use, its owner, and what it may do."""

    key: Key
    active_jobs: int
    """Jobs of the key that have not ended, counted up to 10,000."""
    key_limits: Allowances | None = None
    """The key's limits, beside what it uses."""
    tenant_limits: Allowances | None = None
    """The limits of all keys of the tenant together, beside what they use."""
    weight: int | None = None
    """The tenant's share of the workers, relative to the weights of other tenants. null: the server runs jobs in plain
    order, whosever they are."""

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
            "limits of the key": (self.key_limits and self.key_limits.told()) or None,
            "limits of the tenant": (self.tenant_limits and self.tenant_limits.told()) or None,
            "weight": self.weight,
        }
