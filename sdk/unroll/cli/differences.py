"""In what the jobs of a list differ, because a label groups jobs that people want to compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from unroll.contract import Job

MOST = 10
"""Number of columns from which on a table would be too wide to be read."""
_SHOWN_ANYWAY = {"kind", "name"}


def differences(jobs: Sequence[Job]) -> dict[str, list[object]]:
    """Return labels and fields of the configuration that are not the same in all jobs: a value for each job.

    Each is called by the last part of its path that no other field has: `lr`, or `held_out.seed` beside `seed`. Labels
    come first. A field that a job does not have is None.
    """
    labels = _columns([job.labels for job in jobs])
    fields = _columns([dict(_flat(job.config)) for job in jobs])
    named = {_short(path, fields): values for path, values in fields.items()}
    found = {**{f"label {name}" if name in named else name: values for name, values in labels.items()}, **named}
    return dict(list(found.items())[:MOST])


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[object]]:
    """Return what is not the same in all rows."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return {name: values for name, values in columns.items() if any(value != values[0] for value in values)}


def _flat(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the configuration's values by their dotted paths."""
    content = config.model_dump(mode="json", warnings=False) if isinstance(config, BaseModel) else config
    for name, value in content.items():
        if name == "labels" or name in _SHOWN_ANYWAY:
            continue
        yield from _inside(name, value)


def _inside(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _inside(f"{path}.{name}", inner)
    else:
        yield path, value


def _short(path: str, paths: Mapping[str, object]) -> str:
    """Return the shortest end of the path that is the end of no other one."""
    parts = path.split(".")
    for count in range(1, len(parts)):
        end = parts[-count:]
        if sum(other.split(".")[-count:] == end for other in paths) == 1:
            return ".".join(end)
    return path
