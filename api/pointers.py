"""Converts pydantic's error locations to JSON Pointers (RFC 6901) into the posted document.

A location also names the branches of unions that were tried ('Network', 'constrained-str', 'adam'), which are not part
of the document. They are recognised by following the location through the posted document. Of the branches of one union
only the one that fits the posted value best is reported: the one that got deepest into it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from unroll.contract import FieldError, Request

MAX_ERRORS = 50
"""Largest number of reported errors. The rest is cut off: nobody reads it, and the answer stays small."""

Path = tuple[int | str, ...]


@dataclass(frozen=True)
class _Found:
    path: Path
    branches: tuple[tuple[Path, str], ...]
    """The places where the location chose a branch of a union, and the branches."""
    code: str
    detail: str


def of_body(errors: Sequence[Mapping[str, Any]], body: object) -> list[FieldError]:
    """Return the errors of a body, in order. `body` is the parsed JSON that was posted."""
    found = _fitting([_walk(error, body) for error in errors])
    merged: dict[Path, _Found] = {}
    for one in found:
        first = merged.setdefault(one.path, one)
        if first is not one and one.detail not in first.detail:
            detail = f"{first.detail}; or: {one.detail[0].lower()}{one.detail[1:]}"
            merged[one.path] = _Found(first.path, first.branches, first.code, detail)
    return [FieldError(pointer=pointer(one.path), code=one.code, detail=one.detail) for one in merged.values()][
        :MAX_ERRORS
    ]


def of_parameters(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Return the errors of query parameters (`?name`), headers (`#name`) and parts of the path (only the name)."""
    marks = {"query": "?", "header": "#"}
    return [
        FieldError(
            pointer=f"{marks.get(error['loc'][0], '')}{error['loc'][1]}", code=error["type"], detail=error["msg"]
        )
        for error in errors
    ][:MAX_ERRORS]


def pointer(path: Iterable[int | str]) -> str:
    """Return the JSON Pointer of a path, for example ('model', 'cell', 'hidden_size') → /model/cell/hidden_size."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _walk(error: Mapping[str, Any], body: object) -> _Found:
    location, code = error["loc"], error["type"]
    path: list[int | str] = []
    branches: list[tuple[Path, str]] = []
    here: Any = body
    for i, part in enumerate(location):
        inside = part in here if isinstance(here, dict) else isinstance(here, list) and part in range(len(here))
        if inside:
            here = here[part]
        elif not (code == "missing" and i == len(location) - 1):
            branches.append((tuple(path), str(part)))
            continue
        path.append(part)
    if code in {"union_tag_invalid", "union_tag_not_found"}:
        # the field that says which branch is meant is what is wrong
        path.append(error["ctx"]["discriminator"].strip("'"))
        if code == "union_tag_not_found":
            return _Found(tuple(path), tuple(branches), "missing", "Field required: it says which kind is meant")
        expected = error["ctx"]["expected_tags"]
        return _Found(tuple(path), tuple(branches), "literal_error", f"Input should be one of {expected}")
    detail = error["msg"].removeprefix("Value error, ")
    if code == "extra_forbidden":
        kind = branches[-1][1] if branches and branches[-1][0] == tuple(path[:-1]) else ""
        detail = _no_such_field(kind)
    return _Found(tuple(path), tuple(branches), code, detail)


@cache
def _no_such_field(kind: str) -> str:
    """Say which fields a kind of job, cell, optimiser and so on has instead."""
    found, classes = "There is no such field", [Request]
    for each in classes:
        classes += each.__subclasses__()
        tags = {each.model_fields[tag].default for tag in ("type", "kind") if tag in each.model_fields}
        if kind in tags:
            fields = [name for name in each.model_fields if name not in {"type", "kind"}]
            found = f"{kind} has no such field; it has {', '.join(fields)}" if fields else f"{kind} has no fields"
    return found


def _fitting(found: list[_Found]) -> list[_Found]:
    unions: dict[Path, dict[str, list[_Found]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        for place, branch in one.branches:
            unions[place][branch].append(one)
    dropped: set[int] = set()
    for branches in unions.values():
        if len(branches) < 2:
            continue
        got = {branch: _progress(members) for branch, members in branches.items()}
        deepest = [branch for branch in branches if got[branch] == max(got.values())]
        # a branch that wanted another type says less than one that had the right type and another complaint
        said = [branch for branch in deepest if not all(one.code.endswith("_type") for one in branches[branch])]
        kept = said or deepest
        dropped |= {id(one) for branch, members in branches.items() if branch not in kept for one in members}
    return [one for one in found if id(one) not in dropped]


def _progress(members: list[_Found]) -> tuple[int, list[int]]:
    """Measure how far a branch got: how deep into the document, and behind how many items of its lists."""
    return max(len(one.path) for one in members), [part for part in members[0].path if isinstance(part, int)]
