"""Functions for processes that must not outlive their parent, and that end only when they are told to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Make the kernel kill this process when the thread that started it ends.

    This works on Linux; elsewhere the process ends when its pipes close. Signals that stop a worker also reach its
    children (Ctrl-C, a service manager). The children ignore them, because the supervisor decides whether they make a
    checkpoint first.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if (prctl := getattr(ctypes.CDLL(None), "prctl", None)) is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def first_to_go() -> None:
    """Make the kernel end this process before its supervisor when the machine runs out of memory (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def send(number: signal.Signals, pid: int, pidfd: int | None) -> None:
    """Send a signal to exactly the process that `pidfd` refers to; if that process has ended, send nothing."""
    with contextlib.suppress(ProcessLookupError):
        if pidfd is not None and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(pid, number)
