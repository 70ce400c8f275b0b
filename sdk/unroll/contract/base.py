"""Base classes of the wire types: requests, which users send, and responses, which the server answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

Item = TypeVar("Item")

CONTRACT_VERSION = 1
"""Version that is stored with every configuration. It is raised only when the meaning of a field changes."""


def _describe_tags(schema: dict[str, Any]) -> None:
    """Describe each field that has only one possible value: it says which kind of object this is."""
    for name, field in schema.get("properties", {}).items():
        if "const" in field:
            field.setdefault("description", f"Which {name} this is.")


def _whole(value: Any) -> Any:
    """Return 3 for 3.0: JSON knows one kind of number, and its schemas admit both for a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _take_whole(schema: Any) -> Any:
    """Return the core schema of a field in which every whole number may be written as 3.0. Models do it themselves."""
    if isinstance(schema, list | tuple):
        return type(schema)(_take_whole(item) for item in schema)
    if not isinstance(schema, dict) or schema.get("type") == "model":
        return schema
    if schema.get("type") == "function-before" and schema["function"].get("function") is _whole:
        return schema  # pydantic hands out a model's schema again and again
    taken = {key: item if key == "metadata" else _take_whole(item) for key, item in schema.items()}
    if schema.get("type") != "int":
        return taken
    return core_schema.no_info_before_validator_function(_whole, schema)


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

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        made = handler(source)
        inner: Any = made
        while inner.get("type") in {"definitions", "model", "function-after", "function-before", "function-wrap"}:
            if inner.get("type") == "model":
                inner["schema"] = _take_whole(inner["schema"])
                break
            inner = inner["schema"]
        return made


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


@dataclass(frozen=True)
class Shorthand:
    """Let users write a request shorter where its `type` says which of several it is. What is kept is the full form.

    A bare name stands for an object with that name alone, a bare number for an object with that number alone, and an
    object without a `type` has the default one. The JSON Schema has the short forms beside the full one, those that
    need no further field.
    """

    default: str | None = None
    """The type of an object that does not give one; None: the type is required."""
    word: str | None = "type"
    """The field that a bare name fills; None: a bare name is refused."""
    number: str | None = None
    """The field of the default type that a bare number fills; None: a bare number is refused."""
    tag: str = "type"
    """The field that says which type an object has."""

    def expand(self, value: Any) -> Any:
        """Return the full form of what a user wrote. What is not a short form is returned as it is."""
        if self.word is not None and isinstance(value, str):
            value = {self.word: value}
        elif self.number is not None and isinstance(value, int | float) and not isinstance(value, bool):
            value = {self.number: value}
        if self.default is not None and isinstance(value, dict) and self.tag not in value:
            return {self.tag: self.default, **value}
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        full = handler(schema)
        types = full.get("discriminator", {}).get("mapping") or {self.default: full["$ref"]}
        objects = {tag: handler.resolve_ref_schema({"$ref": reference}) for tag, reference in types.items()}
        for tag, one in objects.items():
            # an object without a type is of the default one, whatever other types its fields would fit
            if tag != self.default and self.tag not in one.get("required", ()):
                one["required"] = [self.tag, *one.get("required", ())]
        forms: list[dict[str, Any]] = []
        if self.word == self.tag:
            alone = [tag for tag, one in objects.items() if not set(one.get("required", ())) - {self.tag}]
            forms += [{"type": "string", "enum": alone}] if alone else []
        elif self.word is not None:
            forms.append(objects[self.default]["properties"][self.word])
        if self.number is not None:
            forms.append(objects[self.default]["properties"][self.number])
        said = {"description", "title", "default", "examples"}
        short = [{key: value for key, value in form.items() if key not in said} for form in forms]
        return {"anyOf": [full, *short]} if short else full


class Page(Response, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    next: str | None = None
    """Opaque cursor of the next page; null on the last page. A page before it may have fewer items than `limit`, or
    none: what is rare among very many items is searched in pieces."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the kind of item and the fields, because a class that was made at run time cannot be found by name."""
        return _unfilled_page, self.__pydantic_generic_metadata__["args"], self.__getstate__()


def _unfilled_page(*item: Any) -> Page[Any]:
    kind = Page[item] if item else Page  # type: ignore[valid-type]
    return kind.__new__(kind)


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""A name that stands in addresses: letters A to Z, digits, dot, underscore and hyphen, starting with a letter or digit;
at most 100 characters."""

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=rf"^[^{_CONTROLS}]*$"),
    # as a schema, which sees the text before it is stripped, it says that something must be left
    Field(json_schema_extra={"pattern": rf"^[^{_CONTROLS}]*[^\s{_CONTROLS}][^{_CONTROLS}]*$"}),
]
"""A name for people: any text of up to 100 characters, without line breaks, other control characters, and marks that
turn the direction of writing. Spaces around it are removed."""
