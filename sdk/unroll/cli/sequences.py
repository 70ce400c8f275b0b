"""Reads sequences for predictions from files: JSON, CSV, .npy and .npz."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from unroll.cli.values import read_json

READ = "read are .json, .csv, .npy and .npz"
HINT = "--input"


def read(file: Path) -> tuple[Any, Any, Any]:
    """Return inputs, state and steps; state and steps are None unless the file has them. The server checks them.

    Raises typer.BadParameter, which says what is wrong where.
    """
    match "" if str(file) == "-" else file.suffix.lower():
        case ".npy" | ".npz":
            return _numpy(file), None, None
        case ".csv" | ".tsv":
            return _table(file), None, None
        case ".json" | "":
            return _json(file)
        case other:
            raise typer.BadParameter(f"{file}: a file {other} is not read; {READ}, or - for JSON", param_hint=HINT)


def _json(file: Path) -> tuple[Any, Any, Any]:
    content = read_json(file, HINT, instead=READ)
    if not isinstance(content, dict):
        return content, None, None
    if unknown := sorted(content.keys() - {"inputs", "state", "steps"}):
        detail = f"{file}: there is no {', '.join(unknown)} among inputs, state and steps"
        raise typer.BadParameter(detail, param_hint=HINT)
    if "inputs" not in content:
        raise typer.BadParameter(f"{file}: there are no inputs", param_hint=HINT)
    return content["inputs"], content.get("state"), content.get("steps")


def _numpy(file: Path) -> Any:
    """Return a batch: of [T] and [T, I] one sequence, of [B, T, I] several, of .npz one for each array."""
    try:
        loaded = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file}: {error}", param_hint=HINT) from None
    if isinstance(loaded, np.ndarray):
        return _batch(loaded)
    with loaded:
        arrays = [loaded[name] for name in loaded.files]
    return _batch(arrays[0]) if len(arrays) == 1 else [_sequence(one) for one in arrays]


def _batch(array: NDArray[Any]) -> Any:
    return [_sequence(array)] if array.ndim < 3 else array


def _sequence(array: NDArray[Any]) -> NDArray[Any]:
    return array[:, None] if array.ndim == 1 else array


def _table(file: Path) -> list[NDArray[np.float64]]:
    """Return the sequences of a table: a row a time step, a column an input.

    A first row of words is a header. With a column named `sequence`, rows of equal values there are one sequence, in
    the order in which the values first come.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            start = text.readline()
            text.seek(0)
            delimiter = next((one for one in "\t;," if one in start), ",")
            comma = delimiter == ";"  # tables with semicolons may have decimal commas
            lines = csv.reader(text, delimiter=delimiter)
            rows = [
                (lines.line_num, [_text(one, comma=comma) for one in row]) for row in lines if any(map(str.strip, row))
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise typer.BadParameter(f"{file}: {error}", param_hint=HINT) from None
    header: list[str] = []
    if rows and not any(map(_is_number, rows[0][1])):
        header = rows.pop(0)[1]
    if not rows:
        raise typer.BadParameter(f"{file}: there is no row of numbers", param_hint=HINT)
    width, place = len(header or rows[0][1]), header.index("sequence") if "sequence" in header else None
    found: dict[str, list[list[float]]] = {}
    for line, row in rows:
        if len(row) != width:
            detail = f"{file}, line {line}: {len(row)} columns, but {width} before"
            raise typer.BadParameter(detail, param_hint=HINT)
        of = "" if place is None else row[place]
        step = [_number(file, line, column, text) for column, text in enumerate(row) if column != place]
        found.setdefault(of, []).append(step)
    return [np.array(steps, np.float64) for steps in found.values()]


def _text(cell: str, *, comma: bool) -> str:
    cell = cell.strip()
    return cell.replace(",", ".") if comma and _is_number(cell.replace(",", ".")) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(file: Path, line: int, column: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        detail = f"{file}, line {line}, column {column + 1}: {text!r} is no number"
        raise typer.BadParameter(detail, param_hint=HINT) from None
