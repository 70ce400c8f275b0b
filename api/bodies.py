"""Reads a JSON body as a type of the contract.

The bytes are validated, not Python objects: the contract's strict types are made for pydantic's JSON mode (a list for a
tuple, a string for a time), and it is several times faster than parsing first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.message import Message
from functools import cache
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool

from api.encodings import decoded
from api.errors import Refused, invalid, summary
from api.memory import CurrentMemory, Held, parsed_bytes
from api.pointers import of_body
from api.service import CurrentService
from unroll.contract.repeated import repeated_name

CONFIGURATION_BYTES = 256 * 1024
"""Size that is enough for every configuration, and so small that its validation never delays other requests."""
INLINE_BYTES = 64 * 1024
"""Bodies larger than this are validated in a thread, so that the event loop continues."""

_RESERVED_BYTES = 64 * 1024
"""Least number of bytes that are reserved at a time for a body that does not declare its length."""
TOO_MANY_ERRORS = 1_000

Content = bytes | bytearray


def json_body(
    type_: Any,
    max_bytes: int | None = CONFIGURATION_BYTES,
    look: Callable[[Content], None] | None = None,
) -> Callable[..., Awaitable[Any]]:
    """Return a dependency that reads the body as a type of the contract, a model or a union of models.

    `max_bytes` is the longest body that is read, after it was inflated; None: the server's own limit.
    `look` sees the bytes before they are parsed, and may refuse them. Memory is reserved before it is taken.
    Refuses: unsupported_media_type, body_too_large, malformed_request, validation_failed, busy, and quota_exceeded
    where too many bodies of a key or a tenant arrive at once.
    """

    async def read(request: Request, service: CurrentService, held: CurrentMemory) -> Any:
        _require_json(request.headers.get("content-type"))
        # the key is known: dependencies are resolved in order, and that of the key comes first
        with service.tallies.hold(request.state.identity, "held_bodies"):
            content = await read_content(request, held, max_bytes or service.settings.max_body_bytes)
        request.state.content = content

        def parsed() -> Any:
            if look is not None:
                look(content)
            held.take(parsed_bytes(content))
            return validate(type_, content)

        return parsed() if len(content) <= INLINE_BYTES else await run_in_threadpool(parsed)

    return read


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


def _require_json(content_type: str | None) -> None:
    message = Message()
    message["content-type"] = content_type or "application/octet-stream"
    kind, charset = message.get_content_type(), message.get_content_charset("utf-8")
    if (kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json"))) or (
        charset not in {"utf-8", "us-ascii"}
    ):
        raise Refused(
            "unsupported_media_type",
            f"The body must be application/json in UTF-8, not {content_type or 'without a Content-Type'}.",
            headers={"Accept": "application/json"},
        )


async def read_content(request: Request, held: Held, max_bytes: int) -> bytearray:
    """Return the body. What it declares is reserved before it is read, and what it did not declare as it comes."""
    declared, encoding = request.headers.get("content-length", ""), request.headers.get("content-encoding")
    reserved = min(int(declared), max_bytes) if declared.isdecimal() else 0
    held.take(reserved)
    content = bytearray()
    async for chunk in decoded(request.stream(), encoding):
        if len(content) + len(chunk) > max_bytes:
            raise Refused("body_too_large", f"A body may have {max_bytes:,} bytes.", headers={"Connection": "close"})
        if (more := len(content) + len(chunk) - reserved) > 0:
            more = max(more, min(_RESERVED_BYTES, max_bytes - reserved))
            held.take(more)
            reserved += more
        content += chunk
    return content
