"""Query parameters that several routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

Limit = Annotated[int, Query(ge=1, le=200, description="Entries in a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
