"""Makes the data folder, or says in one sentence why it cannot be used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

CURE = "set UNROLL_DATA_DIR to a folder that this user may write to"


class FolderUnusable(Exception):
    """The message names UNROLL_DATA_DIR, the path and the cure."""


def make_folder(folder: Path) -> None:
    """Make the folder, readable only by its owner, where it does not exist. Raises FolderUnusable."""
    if reason := unusable(folder):
        raise FolderUnusable(reason)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise FolderUnusable(_sentence(folder, f"cannot be made ({(error.strerror or str(error)).lower()})")) from error


def unusable(folder: Path) -> str | None:
    """Return why this user cannot keep data in this folder, or None. Nothing is changed.

    A folder that does not exist can be used if it can be made.
    """
    there = folder.absolute()
    try:
        while not (found := _look(there)) and there != there.parent:
            there = there.parent
    except PermissionError:
        return _sentence(folder, "is in a folder that this user may not look into")
    is_folder = found is not None and stat.S_ISDIR(found.st_mode)
    if there == folder.absolute():
        if not is_folder:
            return _sentence(folder, "is a file, not a folder")
        if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
            return _sentence(folder, "is a folder that this user may not write to")
    elif not is_folder:
        return _sentence(folder, f"cannot be made, because {there} is a file")
    elif not os.access(there, os.W_OK | os.X_OK):
        return _sentence(folder, f"cannot be made, because this user may not write to {there}")
    return None


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sentence(folder: Path, what: str) -> str:
    return f"UNROLL_DATA_DIR: {folder} {what}; {CURE}"
