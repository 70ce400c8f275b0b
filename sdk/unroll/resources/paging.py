"""Lists that fetch their pages while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Generic, TypeVar, overload
from urllib.parse import quote

from pydantic import BaseModel

from unroll._transport import Params, Transport
from unroll._wire import decode
from unroll.contract import Page, Response
from unroll.contract.shown import Shown, cell, table_html
from unroll.errors import UnrollError

Item = TypeVar("Item", bound=Response)

SHOWN = 10
"""Number of items that a list shows of itself at a prompt."""


class Listing(Generic[Item]):
    """All items of a list, newest first.

    Iterate over it, take `[0]` or `[:10]`, or `first_page()`. Each of them asks the server again, and so does looking
    at it at a prompt, which shows the first items as a table.
    """

    def __init__(self, transport: Transport, path: str, item: type[Item], params: Params | None = None) -> None:
        self._transport = transport
        self._path = path
        self._item = item
        self._params = dict(params or {})

    def __iter__(self) -> Iterator[Item]:
        cursor: str | None = None
        while True:
            page = self.page(cursor)
            yield from page.data
            if page.next is None:
                return
            cursor = page.next

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...

    def __getitem__(self, place: int | slice) -> Item | list[Item]:
        """Return one item, 0 for the newest, or a list of them: as many pages are read as that takes."""
        last = place.stop if isinstance(place, slice) else place
        start = place.start if isinstance(place, slice) else place
        from_the_end = any(number is not None and number < 0 for number in (start, last))
        enough = None if from_the_end or last is None else last if isinstance(place, slice) else last + 1
        return list(islice(self, enough))[place]

    def first_page(self) -> Page[Item]:
        """Return the first page, with the cursor of the next one."""
        return self.page(None)

    def page(self, cursor: str | None) -> Page[Item]:
        """Return the page that starts at a cursor; None: the first page."""
        return self._ask({**self._params, "cursor": cursor})

    def __repr__(self) -> str:
        header, rows, rest = self._shown()
        cells = [header, *([cell(value) for value in row] for row in rows)] if rows else []
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)
        return "\n".join([*lines, rest] if rest else lines)

    def _repr_html_(self) -> str:
        header, rows, rest = self._shown()
        return table_html(header, rows, rest)

    def _shown(self) -> tuple[list[str], list[list[object]], str]:
        """Return header and lines of the first items, and what there is to say beside them. Raises nothing."""
        size = min(int(str(self._params.get("limit") or SHOWN)), SHOWN)
        try:
            page: Page[Item] = self._ask({**self._params, "limit": size} if "limit" in self._params else self._params)
        except UnrollError as error:
            return [], [], f"<a list of {self._path}, which cannot be shown: {error}>"
        items: list[Any] = list(islice(page.data, SHOWN))
        rows = [one.row() if isinstance(one, Shown) else _plain_row(one) for one in items]
        if not rows and page.next is not None:
            return [], [], "(nothing fits among the newest: iterate for all)"
        if not rows:
            return [], [], "(nothing fits)" if self._filtered() else f"(nothing in {self._path} yet)"
        more = page.next is not None or len(page.data) > len(items)
        header = list(rows[0])
        rest = "... and more: iterate for all" if more else ""
        return header, [[row.get(name) for name in header] for row in rows], rest

    def _filtered(self) -> bool:
        return any(value for name, value in self._params.items() if name != "limit")

    def _ask(self, params: Params) -> Page[Item]:
        answer = self._transport.request("GET", self._path, params=params)
        page: Page[Item] = decode(Page[self._item], answer.content)  # type: ignore[name-defined] # made at run time
        return page


def _plain_row(item: Any) -> dict[str, object]:
    """Return the fields of an item that fit into a cell."""
    simple = ((name, value) for name, value in item if not isinstance(value, BaseModel))
    return {name: value for name, value in simple if not isinstance(value, dict)}


def path(*parts: str) -> str:
    """Return a path of the API. Names that users chose are quoted."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
