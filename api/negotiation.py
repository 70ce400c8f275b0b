"""Reads which representation a request wants: Accept, If-None-Match and Prefer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

from api.errors import Refused

JSON = "application/json"
SAFETENSORS = "application/x-safetensors"
NPY = "application/x-npy"


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """Return the offered media type that the Accept header ranks highest, the first among equals (RFC 9110, 12.5.1).

    Refuses not_acceptable if the header accepts none of them.
    """
    ranges = [_range(part) for part in (accept or "*/*").split(",") if part.strip()]
    best, best_quality = None, 0.0
    for media_type in offered:
        fitting = [(specificity, quality) for one, quality, specificity in ranges if _fits(one, media_type)]
        quality = max(fitting)[1] if fitting else 0.0
        if quality > best_quality:
            best, best_quality = media_type, quality
    if best is None:
        raise Refused("not_acceptable", f"This is offered as {', '.join(offered)}, not as {accept}.")
    return best


def offers(*media_types: str) -> Dependency:
    """Return a dependency that refuses requests which accept none of the media types."""

    async def check(request: Request) -> None:
        preferred(request.headers.get("accept"), media_types)

    used: Callable[[Request], Awaitable[None]] = check
    return Depends(used)  # type: ignore[no-any-return]


def _range(part: str) -> tuple[str, float, int]:
    media_type, _, parameters = part.strip().partition(";")
    media_type = media_type.strip().lower()
    found = re.search(r"\bq=([01](?:\.\d{0,3})?)", parameters)
    specificity = 0 if media_type == "*/*" else 1 if media_type.endswith("/*") else 2
    return media_type, float(found[1]) if found else 1.0, specificity


def _fits(media_range: str, media_type: str) -> bool:
    return media_range in {"*/*", media_type} or (
        media_range.endswith("/*") and media_type.startswith(media_range.removesuffix("*"))
    )


def matches(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client already has this version (weak comparison, RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return "*" in known or etag in known


def byte_range(header: str | None, size: int) -> range | None:
    """Return the bytes that a Range header asks for (RFC 9110, 14.1.2): an empty range if there are none of them.

    None: the whole is to be sent, as for several ranges at once and for what is no range of bytes.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (header or "").replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return range(max(size - int(found[2]), 0), size)
    first, last = int(found[1]), int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return None
    return range(first, min(last + 1, size)) if first < size else range(0)


def wait_seconds(prefer: str | None, longest: int) -> int | None:
    """Return N of `Prefer: wait=N` (RFC 7240), at most `longest`; None if it is missing or not understood."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\b", prefer or "", re.IGNORECASE)
    return min(int(found[1]), longest) if found else None
