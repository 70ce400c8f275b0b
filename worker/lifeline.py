"""Processes that must not outlive the one that started them, and end only when they are told to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux; elsewhere the pipes' ends do).

    Signals that stop a worker reach its children too (Ctrl-C, a service manager): they ignore them, because the
    supervisor decides whether they make a checkpoint first.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if (prctl := getattr(ctypes.CDLL(None), "prctl", None)) is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def first_to_go() -> None:
    """When the machine runs out of memory, let it be this process rather than its supervisor (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def send(number: signal.Signals, pid: int, pidfd: int | None) -> None:
    """A signal to exactly the process that `pidfd` stands for, where there is one; none if it has gone."""
    with contextlib.suppress(ProcessLookupError):
        if pidfd is not None and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(pid, number)
