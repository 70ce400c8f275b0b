"""Finds a name that stands twice in one JSON object, where parsers would silently take the last value."""

from __future__ import annotations

import json
import re

_TOKEN = re.compile(rb'[^"{}]*+(?:"((?:[^"\\]++|\\.)*+)"(\s*+:)?|([{}])|\Z)', re.DOTALL)
"""What stands between two names or braces, then a text with or without a colon behind it, a brace, or the end. Without
the end, what stands after the last brace would be searched again from each of its characters."""


def repeated_name(content: bytes | bytearray | str) -> str | None:
    """Return a phrase about the first name that stands twice in an object of a JSON document, or None.

    The document must be valid JSON. Numbers and lists are skipped quickly: a million take a few milliseconds.
    """
    document = content.encode() if isinstance(content, str) else content
    objects: list[set[str]] = []
    around: list[str] = []
    for token in _TOKEN.finditer(document):
        text, colon, brace = token.groups()
        if brace == b"{":
            objects.append(set())
            around.append("")
        elif brace == b"}":
            objects.pop()
            around.pop()
        elif colon:
            name = json.loads(b'"%b"' % text) if b"\\" in text else text.decode()
            if name in objects[-1]:
                line, column = _place(document, token.start(1))
                inside = next((f" in {outer!r}" for outer in reversed(around[:-1]) if outer), "")
                return f"The name {name!r} stands twice in one object{inside}, at line {line} column {column}"
            objects[-1].add(name)
            around[-1] = name
    return None


def _place(document: bytes | bytearray, at: int) -> tuple[int, int]:
    return document.count(b"\n", 0, at) + 1, at - document.rfind(b"\n", 0, at)
