"""The files that jobs make, on this machine's disk."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from unroll.contract import ExportSummary, Job
from unroll.errors import UnexpectedAnswerError


def save(content: bytes, name: str, path: str | PathLike[str] | None) -> Path:
    """Write the content of an artifact to `path`, a file or a folder, and return where it is.

    Without a path it goes into the current folder. Of the name that the server gave only its last part is used, so
    that nothing is written elsewhere. Raises OSError.
    """
    place = Path(path) if path is not None else Path()
    place = place / Path(name).name if place.is_dir() else place
    place.write_bytes(content)
    return place


def exported(job: Job) -> str:
    """Return the name of the artifact that a succeeded export job made. Raises UnexpectedAnswerError."""
    name = job.summary.artifact if isinstance(job.summary, ExportSummary) else None
    if name is None:
        raise UnexpectedAnswerError(f"Job {job.id} has succeeded, but does not say which file it made.")
    return name
