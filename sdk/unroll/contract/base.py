"""The two kinds of wire types: what users send (strict) and what the server answers."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

Item = TypeVar("Item")

CONTRACT_VERSION = 1
"""Stored beside every configuration; raised only when the meaning of a field changes."""


def _describe_tags(schema: dict[str, Any]) -> None:
    """A field with one possible value only says which kind of thing this is."""
    for name, field in schema.get("properties", {}).items():
        if "const" in field:
            field.setdefault("description", f"Which {name} this is.")


class Request(BaseModel):
    """Something a user sends: unknown fields, wrong types and non-finite numbers are refused."""

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
    """Something the server answers. Within /v1 fields are only added, so readers ignore unknown ones."""

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
    """For a union of requests told apart by `type`: one without it is a `name`."""

    def with_type(value: Any) -> Any:
        return {"type": name, **value} if isinstance(value, dict) and "type" not in value else value

    return BeforeValidator(with_type)


class Page(Response, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    next: str | None = None
    """Opaque cursor of the next page; null on the last one."""


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""A name that a user chooses: letters, digits, dot, underscore, hyphen; at most 100 characters."""
