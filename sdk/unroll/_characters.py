"""Texts that travel in headers and addresses: cleaned of what copying leaves around them, and refused by character."""

from __future__ import annotations

import re
import unicodedata

_AROUND = "\ufeff\u200b\u200c\u200d\u2060"
"""Invisible characters that files and web pages leave around a text, and that Python does not take for spaces."""

KEY = re.compile(r"[A-Za-z0-9._~+/=-]*")
"""What a bearer token is made of (RFC 6750, 2.1)."""
VISIBLE = re.compile(r"[!-~]*")
"""Printable ASCII without spaces."""


def stripped(text: str) -> str:
    """Return a text without spaces, line breaks and invisible marks around it."""
    while (inner := text.strip().strip(_AROUND)) != text:
        text = inner
    return text


def require(text: str, allowed: re.Pattern[str], what: str, cure: str) -> None:
    """Refuse a text with a character that is not allowed. Raises ValueError.

    The message says which character it is and where. It never shows the text, which may be a secret.
    """
    matched = allowed.match(text)
    place = matched.end() if matched else 0
    if place < len(text):
        raise ValueError(f"{what} has {character(text[place])} as character {place + 1} of {len(text)}: {cure}")


def character(one: str) -> str:
    """Return the name of a character, for example `U+201C LEFT DOUBLE QUOTATION MARK`."""
    controls = {"\n": "LINE FEED", "\r": "CARRIAGE RETURN", "\t": "TABULATION", "\0": "NULL"}
    name = controls.get(one) or unicodedata.name(one, "an unnamed character")
    return f"U+{ord(one):04X} {name}"
