"""Lists that fetch their pages while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar
from urllib.parse import quote

from unroll._transport import Params, Transport
from unroll._wire import decode
from unroll.contract import Page, Response

Item = TypeVar("Item", bound=Response)


class Listing(Generic[Item]):
    """All items of a list, newest first.

    Iterate over it, or take `first_page()`. Each iteration asks the server again.
    """

    def __init__(self, transport: Transport, path: str, item: type[Item], params: Params | None = None) -> None:
        self._transport = transport
        self._path = path
        self._page = Page[item]  # type: ignore[valid-type] # pydantic makes the class at run time
        self._params = dict(params or {})

    def __iter__(self) -> Iterator[Item]:
        cursor: str | None = None
        while True:
            page = self.page(cursor)
            yield from page.data
            if page.next is None:
                return
            cursor = page.next

    def first_page(self) -> Page[Item]:
        """Return the first page, with the cursor of the next one."""
        return self.page(None)

    def page(self, cursor: str | None) -> Page[Item]:
        """Return the page that starts at a cursor; None: the first page."""
        params = {**self._params, "cursor": cursor}
        page: Page[Item] = decode(self._page, self._transport.request("GET", self._path, params=params).content)
        return page


def path(*parts: str) -> str:
    """Return a path of the API. Names that users chose are quoted."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
