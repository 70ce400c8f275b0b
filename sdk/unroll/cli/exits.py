"""Exit codes, and the error that each belongs to."""

from __future__ import annotations

from unroll.errors import (
    APIConnectionError,
    JobCancelled,
    JobFailed,
    UnrollError,
)

REFUSED = 1
"""The server refused, or something else went wrong. Code 2, a wrong command line, is typer's own."""
JOB_FAILED = 3
JOB_CANCELLED = 4
UNREACHABLE = 5
CHECK_FAILED = 6
"""A gradient check ran, and a distance is too large."""
INTERRUPTED = 130
"""Ctrl-C was pressed. A job that was being followed continues."""

TABLE = (
    "Exit codes: 0 done; 1 the server refused; 2 wrong usage; 3 the job failed; 4 the job was cancelled; "
    "5 no server answers; 6 a gradient check failed; 130 interrupted (a job that was being followed goes on)."
)


def exit_code(error: UnrollError | ValueError) -> int:
    """Return the exit code for an error."""
    match error:
        case JobFailed():
            return JOB_FAILED
        case JobCancelled():
            return JOB_CANCELLED
        case APIConnectionError():
            return UNREACHABLE
    return REFUSED
