"""Converts pydantic's error locations to JSON Pointers (RFC 6901) into the posted document.

A location also names the branches of unions that were tried ('Network', 'constrained-str', 'adam'), which are not part
of the document. They are recognised by following the location through the posted document. Of the branches of one union
only the one that fits the posted value best is reported: the one that got deepest into it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unroll.contract import FieldError
from unroll.contract.places import NOTHING
from unroll.contract.wording import describe

MAX_ERRORS = 50
"""Largest number of reported errors. The rest is cut off: nobody reads it, and the answer stays small."""

Path = tuple[int | str, ...]


@dataclass(frozen=True)
class _Found:
    path: Path
    """Where the value is, as far as it was posted."""
    branches: tuple[tuple[Path, str], ...]
    """The places where the location chose a branch of a union, and the branches."""
    pointed: Path
    """What the error is reported at: the value, or the field of it that says which branch is meant."""
    code: str
    error: Mapping[str, Any]


def of_body(errors: Sequence[Mapping[str, Any]], body: object, type_: Any) -> list[FieldError]:
    """Return the errors of a body, in order. `body` is the parsed JSON that was posted as a `type_`."""
    merged: dict[Path, FieldError] = {}
    for one in _fitting([_walk(error, body) for error in errors]):
        first = merged.get(one.pointed)
        if first is None and len(merged) == MAX_ERRORS:
            continue
        detail = describe(one.error, type_, one.path, body)
        if first is None:
            merged[one.pointed] = FieldError(pointer=pointer(one.pointed), code=one.code, detail=detail)
        elif detail not in first.detail:
            both = f"{first.detail}; or: {detail[0].lower()}{detail[1:]}"
            merged[one.pointed] = first.model_copy(update={"detail": both})
    return list(merged.values())


def of_parameters(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Return the errors of query parameters (`?name`), headers (`#name`) and parts of the path (only the name)."""
    marks = {"query": "?", "header": "#"}
    return [
        FieldError(
            pointer=f"{marks.get(error['loc'][0], '')}{error['loc'][1]}",
            code=error["type"],
            detail=describe(error, None, (), NOTHING),
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
        elif not (code == "missing" and i == len(location) - 1 and isinstance(here, dict)):
            # a branch of a union, or a field that was left out in a short form
            branches.append((tuple(path), str(part)))
            continue
        path.append(part)
    pointed = tuple(path)
    if code in {"union_tag_invalid", "union_tag_not_found"}:
        # the field that says which branch is meant is what is wrong
        pointed += (error["ctx"]["discriminator"].strip("'"),) if isinstance(here, dict) else ()
        code = "missing" if code == "union_tag_not_found" else "literal_error"
    return _Found(tuple(path), tuple(branches), pointed, code, error)


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
    return max(len(one.pointed) for one in members), [part for part in members[0].path if isinstance(part, int)]
