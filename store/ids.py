"""Identifiers that sort by the time of their creation: a prefix, 48 bits of milliseconds and 80 random bits."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in lower case
_CHARACTERS = 26


def new_id(prefix: str) -> str:
    """Return a new identifier, for example `job_01hzy3v7q8j5w2n4k6m8p0r2t4`. The layout is that of a ULID."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return f"{prefix}_" + "".join(_ALPHABET[number >> 5 * i & 31] for i in reversed(range(_CHARACTERS)))
