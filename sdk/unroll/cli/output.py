"""Writes results on stdout: a table for people, tab-separated lines for pipes, JSON for programs.

Everything else goes to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table


class Format(StrEnum):
    """The format of results."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to write the result.")]


def say(message: str) -> None:
    """Print a remark that is not a result."""
    sys.stderr.write(f"{message}\n")


def show_json(value: object) -> None:
    """Print a result as JSON."""
    sys.stdout.write(json.dumps(_jsonable(value), indent=2, allow_nan=False) + "\n")


def show_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a result as a table. If stdout is not a terminal, print tab-separated lines from which nothing is cut."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(line) + "\n" for line in [list(header), *cells])
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for line in cells:
        table.add_row(*line)
    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(table, markup=False)
    sys.stdout.write(capture.get())


def show_fields(fields: dict[str, object]) -> None:
    """Print one object, with one line for each field. Fields that are None are left out."""
    show_table(("field", "value"), [(name, value) for name, value in fields.items() if value is not None])


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.6g}"
        case bool():
            return "yes" if value else "no"
        case dict():
            return " ".join(f"{key}:{_cell(item)}" for key, item in value.items())
        case list() | tuple():
            return ", ".join(map(_cell, value))
        case BaseModel():
            return _cell(dict(value))
    return str(value).replace("\t", " ").replace("\n", " ")


def _jsonable(value: object) -> Any:
    if isinstance(value, BaseModel):
        # without warnings: a newer server's words are kept as they came
        return value.model_dump(mode="json", by_alias=True, warnings=False)
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    return value
