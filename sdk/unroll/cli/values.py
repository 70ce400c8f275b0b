"""Reads values from the command line and from files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import typer

from unroll.contract import Replica
from unroll.contract.repeated import repeated_name


def pairs(given: list[str], option: str) -> dict[str, str]:
    """Read KEY=VALUE pairs, each key once. Raises typer.BadParameter."""
    found: dict[str, str] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{one!r} is not KEY=VALUE", param_hint=option)
        if key in found:
            raise typer.BadParameter(f"{key!r} is given twice", param_hint=option)
        found[key] = value
    return found


def parameters(given: list[str], option: str) -> dict[str, Any]:
    """Read KEY=VALUE pairs. A value that is JSON (a number, true, a list) is read as JSON, any other as text."""
    return {key: _value(text, option) for key, text in pairs(given, option).items()}


def _value(text: str, option: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    _require_single_names(text, "", option)
    return value


def replica_of(given: str | None) -> Replica | None:
    """Read which replica is meant; None: nothing was said. Raises typer.BadParameter."""
    if given is None or given in {"best", "all"}:
        return cast("Replica | None", given)
    if not given.isdecimal():
        raise typer.BadParameter(f"{given!r} is none of best, all, or an index from 0", param_hint="--replica")
    return int(given)


def read_json(path: Path, option: str, *, instead: str = "") -> Any:
    """Read a JSON file; `-` is stdin. Raises typer.BadParameter if it cannot be read; `instead` says what else can."""
    name = "stdin" if str(path) == "-" else str(path)
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{name}: {error.strerror or error}", param_hint=option) from None
    try:
        # JSON is UTF-8, or UTF-16 as PowerShell writes it, whatever the locale is
        text = content.decode(json.detect_encoding(content))
        value = json.loads(text)
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{name} is no text, so it is no JSON{_also(instead)}", param_hint=option) from None
    except ValueError as error:
        why = "it is empty" if not content.strip() else str(error)
        raise typer.BadParameter(f"{name} is no JSON ({why}){_also(instead)}", param_hint=option) from None
    _require_single_names(text, f"{name}: ", option)
    return value


def _require_single_names(text: str, of: str, option: str) -> None:
    if (said := repeated_name(text)) is not None:
        raise typer.BadParameter(f"{of}{said}", param_hint=option)


def _also(instead: str) -> str:
    return f"; {instead}" if instead else ""


def put(config: dict[str, Any], values: dict[str, Any], *, merge: bool = False) -> None:
    """Put each value that is not None where its dotted path says. Raises typer.BadParameter."""
    for dotted, value in values.items():
        if value is None:
            continue
        *outer, last = dotted.split(".")
        place = config
        for name in outer:
            inner = place.get(name)
            place[name] = inner = {} if inner is None else inner
            if not isinstance(inner, dict):
                raise typer.BadParameter(f"{name!r} in {dotted} is no object: {inner!r}")
            place = inner
        place[last] = {**(place.get(last) or {}), **value} if merge else value
