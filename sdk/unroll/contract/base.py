"""Base classes of the wire types: requests, which users send, and responses, which the server answers."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

Item = TypeVar("Item")

CONTRACT_VERSION = 1
"""Version that is stored with every configuration. It is raised only when the meaning of a field changes."""


def _describe_tags(schema: dict[str, Any]) -> None:
    """Describe each field that has only one possible value: it says which kind of object this is."""
    for name, field in schema.get("properties", {}).items():
        if "const" in field:
            field.setdefault("description", f"Which {name} this is.")


class Request(BaseModel):
    """Base class of what a user sends. Unknown fields, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
        protected_namespaces=(),
        json_schema_extra=_describe_tags,
    )


class Response(BaseModel):
    """Base class of what the server answers. Within /v1 fields are only added, so readers ignore unknown ones."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
        protected_namespaces=(),
    )


def default_type(name: str) -> BeforeValidator:
    """Return a validator that sets `type` to `name` where a request of a union does not give its `type`."""

    def with_type(value: Any) -> Any:
        return {"type": name, **value} if isinstance(value, dict) and "type" not in value else value

    return BeforeValidator(with_type)


class Page(Response, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    next: str | None = None
    """Opaque cursor of the next page; null on the last page."""


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""A name chosen by a user: letters, digits, dot, underscore and hyphen, starting with a letter or digit; at most 100
characters."""
