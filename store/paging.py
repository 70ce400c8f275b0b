"""Cursor pages. Ids sort by age, so the last id (or step) of a page marks the start of the next one."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Row, Select

from store.errors import InvalidRequest
from unroll.contract import Page

Item = TypeVar("Item")
Place = TypeVar("Place", bound=str | int)


def page(
    tx: Connection,
    query: Select[Any],
    column: Column[Any],
    *,
    limit: int,
    cursor: str | None,
    show: Callable[[Row[Any]], Item],
) -> Page[Item]:
    """Return the newest `limit` rows older than the cursor. Raises InvalidRequest if the cursor is not valid."""
    if cursor is not None:
        query = query.where(column < opened(cursor, column.type.python_type))
    rows = tx.execute(query.order_by(column.desc()).limit(limit + 1)).all()
    more = len(rows) > limit
    rows = rows[:limit]
    following = cursor_at(getattr(rows[-1], column.name)) if more else None
    return Page(data=[show(row) for row in rows], next=following)


def cursor_at(value: str | int) -> str:
    """Return the cursor of the page that comes after the row with this id or step."""
    return base64.urlsafe_b64encode(str(value).encode()).decode()


def opened(cursor: str, kind: type[Place]) -> Place:
    """Return the id or step that a cursor was made of. Raises InvalidRequest if the cursor is not valid."""
    try:
        value = base64.b64decode(cursor, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        value = ""
    if not re.fullmatch(r"[0-9]{1,18}" if kind is int else r"[a-z]+_[0-9a-z]{26}", value):
        raise InvalidRequest("This cursor was not given out by this server.", pointer="?cursor")
    return kind(value)
