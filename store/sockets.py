"""Where processes of one machine put the sockets by which they meet: in a folder whose path is short enough."""

from __future__ import annotations

import os
import sys
import tempfile

LONGEST_ADDRESS = 107 if sys.platform == "linux" else 103
"""The kernel's limit for a socket's path, in bytes (sun_path in unix(7), without its last byte)."""
NAME_BYTES = 40
"""Room for what multiprocessing adds: `/pymp-xxxxxxxx/listener-xxxxxxxx`."""
OTHERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a private folder is made in one of them


class NoFolderForSockets(Exception):
    """The message names TMPDIR and the cure."""


def folder() -> str:
    """Return the folder for temporary files, or another one if its path is too long. Raises NoFolderForSockets."""
    given = usual()
    if (found := next((one for one in (given, *OTHERS) if one and _fits(one)), None)) is not None:
        return found
    what = f"{given} (TMPDIR) is too long for the path of a socket" if given else "there is no folder to write to"
    raise NoFolderForSockets(
        f"Temporary files: {what}, and this user may not write to {', '.join(OTHERS)}; set TMPDIR to a folder with a "
        f"path of at most {LONGEST_ADDRESS - NAME_BYTES} bytes"
    )


def usual() -> str:
    """Return the folder for temporary files, or an empty string if there is none."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # not even the current folder can be written to
        return ""


def _fits(path: str) -> bool:
    return len(os.fsencode(path)) + NAME_BYTES <= LONGEST_ADDRESS and os.access(path, os.W_OK | os.X_OK)
