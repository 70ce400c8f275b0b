"""Tells whoever supervises this process that work goes on between two steps of a job.

Work that may take long calls `beat` after each of its parts. A part is what cannot say anything meanwhile, such as one
call of a native kernel. `rnn.training.cost.part_seconds` estimates the longest part of a job.
"""

from __future__ import annotations

from collections.abc import Callable


def _nobody() -> None:
    pass


_listener: Callable[[], None] = _nobody


def listen(listener: Callable[[], None]) -> None:
    """Have `listener` called at every beat of this process. It is called often, and must return quickly."""
    global _listener  # noqa: PLW0603 - one process runs one job, and passing this to every loop would hide the loops
    _listener = listener


def beat() -> None:
    """Say that a part of the work is done. It costs far less than a microsecond where nobody listens."""
    _listener()
