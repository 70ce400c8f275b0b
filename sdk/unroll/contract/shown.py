"""How answers look to a person at a prompt: one line as text, a table as HTML in a notebook.

What is shown is a choice; the fields themselves, and `model_dump()`, have everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

_CELL = "text-align:left;padding:0 1em 0 0"


class Shown:
    """The base of answers that people look at. `line` and `table` say what they see; `row` is their line in a list."""

    def line(self) -> str:
        """Return what matters most in one line."""
        raise NotImplementedError

    def table(self) -> dict[str, object]:
        """Return what a person wants to know, each under the name that people are shown; None: it is absent."""
        raise NotImplementedError

    def row(self) -> dict[str, object]:
        """Return the cells of this item's line in a list."""
        return self.table()

    def _repr_html_(self) -> str:
        return fields_html(self.table(), self.line())

    def __repr__(self) -> str:
        return f"<{self.line()}>"

    def __str__(self) -> str:
        return repr(self)


def fields_html(fields: dict[str, object], caption: str = "") -> str:
    """Return one object as HTML, with one line for each field. Fields that are None are left out."""
    return table_html((), [(name, value) for name, value in fields.items() if value is not None], caption)


def table_html(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return a table as HTML. All text is escaped: names come from users."""
    said = (
        [f"<caption style='text-align:left;caption-side:top;white-space:nowrap'>{escape(caption)}</caption>"]
        if caption
        else []
    )
    if header:
        cells = "".join(f"<th style='{_CELL}'>{escape(name)}</th>" for name in header)
        said.append(f"<thead><tr>{cells}</tr></thead>")
    body = ("".join(f"<td style='{_CELL}'>{escape(cell(value))}</td>" for value in row) for row in rows)
    said += ["<tbody>", *(f"<tr>{cells}</tr>" for cells in body), "</tbody>"]
    return f"<table>{''.join(said)}</table>"


def cell(value: object) -> str:
    """Return a value as the text of one cell."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case dict():
            return " ".join(f"{key}:{cell(item)}" for key, item in value.items())
        case list() | tuple():
            return ", ".join(map(cell, value))
    return " ".join(str(value).split())


def duration(seconds: float) -> str:
    """Return a rough time in the unit that people would say it in: 40 s, 12 min, 9 h, 3 days."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
