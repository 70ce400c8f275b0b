"""Reads the chunks of a body, inflated if it was sent with `Content-Encoding: gzip`."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

from api.errors import Refused

ACCEPTED = "gzip, identity"
_PIECE = 64 * 1024
"""Number of bytes that are inflated at a time: a few kilobytes of gzip can be megabytes."""


async def decoded(chunks: AsyncIterator[bytes], encoding: str | None) -> AsyncIterator[bytes]:
    """Yield the body in pieces, as it was before it was compressed.

    Refuses unsupported_media_type for other encodings than gzip, and malformed_request for gzip that is damaged.
    """
    name = (encoding or "identity").strip().lower()
    if name in {"", "identity"}:
        async for chunk in chunks:
            yield chunk
        return
    if name not in {"gzip", "x-gzip"}:
        detail = f"The body may be compressed with gzip, not with {encoding}."
        raise Refused("unsupported_media_type", detail, headers={"Accept-Encoding": ACCEPTED})
    inflating = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        async for chunk in chunks:
            while chunk:
                if inflating.eof:
                    raise Refused("malformed_request", "Something follows the end of the gzip.")
                yield inflating.decompress(chunk, _PIECE)
                chunk = inflating.unconsumed_tail or inflating.unused_data  # noqa: PLW2901 - what is left of it
                await asyncio.sleep(0)  # others get their turn between pieces
        yield inflating.flush()
    except zlib.error as error:
        raise Refused("malformed_request", f"The body is no gzip: {error}.") from None
    if not inflating.eof:
        raise Refused("malformed_request", "The gzip of the body ends too early.")
