"""Reads a body as what its media type says, most often JSON of a type of the contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from email.message import Message
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.encodings import decoded
from api.errors import Refused
from api.memory import CurrentMemory, Held, parsed_bytes
from api.negotiation import JSON
from api.service import CurrentService
from api.validation import Content, validate

CONFIGURATION_BYTES = 256 * 1024
"""Size that is enough for every configuration, and so small that its validation never delays other requests."""
INLINE_BYTES = 64 * 1024
"""Bodies larger than this are validated in a thread, so that the event loop continues."""

_RESERVED_BYTES = 64 * 1024
"""Least number of bytes that are reserved at a time for a body that does not declare its length."""
Reader = Callable[[Content, Held], Any]
"""Reads a whole body, and reserves the memory that this takes."""


def json_body(
    type_: Any, max_bytes: int | None = CONFIGURATION_BYTES, look: Callable[[Content], None] | None = None
) -> Callable[..., Awaitable[Any]]:
    """Return a dependency that reads a JSON body as a type of the contract; see `body` and `json_reader`."""
    return body({JSON: json_reader(type_, look)}, max_bytes)


def json_reader(type_: Any, look: Callable[[Content], None] | None = None) -> Reader:
    """Return what reads JSON as a type of the contract, a model or a union of models.

    `look` sees the bytes before they are parsed, and may refuse them. Memory is reserved before it is taken.
    """

    def parsed(content: Content, held: Held) -> Any:
        if look is not None:
            look(content)
        held.take(parsed_bytes(content))
        return validate(type_, content)

    return parsed


def body(readers: Mapping[str, Reader], max_bytes: int | None) -> Callable[..., Awaitable[Any]]:
    """Return a dependency that reads the body with the reader of its media type.

    `max_bytes` is the longest body that is read, after it was inflated; None: the server's own limit.
    Refuses: unsupported_media_type, body_too_large, malformed_request, validation_failed, busy, and quota_exceeded
    where too many bodies of a key or a tenant arrive at once.
    """

    async def read(request: Request, service: CurrentService, held: CurrentMemory) -> Any:
        parse = readers[media_type(request.headers.get("content-type"), readers)]
        # the key is known: dependencies are resolved in order, and that of the key comes first
        with service.tallies.hold(request.state.identity, "held_bodies"):
            content = await read_content(request, held, max_bytes or service.settings.max_body_bytes)
        request.state.content = content
        if len(content) <= INLINE_BYTES:
            return parse(content, held)
        return await run_in_threadpool(parse, content, held)

    return read


def media_type(content_type: str | None, taken: Collection[str]) -> str:
    """Return which of the media types a body has. Refuses unsupported_media_type."""
    message = Message()
    message["content-type"] = content_type or "application/octet-stream"
    kind, charset = message.get_content_type(), message.get_content_charset("utf-8")
    if kind.startswith("application/") and kind.endswith("+json"):
        kind = JSON
    if kind not in taken or (kind == JSON and charset not in {"utf-8", "us-ascii"}):
        offered = ", ".join(f"{one} in UTF-8" if one == JSON else one for one in taken)
        raise Refused(
            "unsupported_media_type",
            f"The body must be {offered}, not {content_type or 'without a Content-Type'}.",
            headers={"Accept": ", ".join(taken)},
        )
    return kind


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
