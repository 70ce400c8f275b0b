"""Reads JSON as a type of the contract.

The bytes are validated, not Python objects: the contract's strict types are made for pydantic's JSON mode (a list for a
tuple, a string for a time), and it is several times faster than parsing first.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from api.errors import Refused, invalid, summary
from api.pointers import of_body
from unroll.contract.repeated import repeated_name

Content = bytes | bytearray
TOO_MANY_ERRORS = 1_000


def validate(type_: Any, content: Content) -> Any:
    """Return the body as its type. Refuses malformed_request, and validation_failed with a pointer for each field."""
    try:
        body = _adapter(type_).validate_json(content)
    except ValidationError as error:
        if error.error_count() > TOO_MANY_ERRORS:  # a hostile body: listing millions of errors would take seconds
            raise invalid("", "too_many_errors", f"{error.error_count():,} things are wrong with it.") from None
        details = error.errors(include_url=False, include_input=False)
        if details[0]["type"] == "json_invalid":
            raise Refused("malformed_request", _malformed(details[0]["msg"], content)) from None
        require_single_names(content)
        found = of_body(details, from_json(content, allow_inf_nan=True), type_)
        raise Refused("validation_failed", summary(found), errors=found) from None
    require_single_names(content)
    return body


def require_single_names(content: Content | str, of: str = "") -> None:
    """Refuse malformed_request for valid JSON in which a name stands twice in one object.

    Its parser would take the last one, another program's the first. `of` says which JSON it is, if not the body.
    """
    if (said := repeated_name(content)) is not None:
        raise Refused("malformed_request", f"{of}{said}.")


_JSON_MISTAKES = {
    "trailing comma": "leave the last comma out",
    "key must be a string": "names stand in double quotes",
    "expected ident": "texts stand in double quotes; true, false and null are written in small letters",
    "expected value": "texts stand in double quotes; true, false and null are written in small letters",
    "EOF while": "the end is missing",
    "trailing characters": "the body is one JSON value",
}
"""What is to be done about what the JSON parser says."""


def _malformed(message: str, content: Content) -> str:
    if not content.strip():
        return f"The body is empty; send a JSON object. {message}."
    cure = next((cure for said, cure in _JSON_MISTAKES.items() if said in message), None)
    return message if cure is None else f"{message}: {cure}."


@cache
def _adapter(type_: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type_)
