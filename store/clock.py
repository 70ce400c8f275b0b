"""Converts seconds of the database's clock to instants of the contract."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


@overload
def instant(seconds: float) -> datetime: ...
@overload
def instant(seconds: None) -> None: ...
def instant(seconds: float | None) -> datetime | None:
    """Convert seconds since 1970 to a UTC datetime; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
