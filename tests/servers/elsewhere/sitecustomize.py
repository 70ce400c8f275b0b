"""Takes away what only Linux has from every Python that has this folder on its PYTHONPATH, as if it ran elsewhere.

Windows without WSL is no aim; what only Windows lacks (SIGUSR1, resource) is taken away all the same.
"""

from __future__ import annotations

import builtins
import ctypes
import faulthandler
import io
import multiprocessing
import os
import signal
import sys
from typing import Any

for module, name in (
    (os, "pidfd_open"),
    (os, "sched_getaffinity"),
    (os, "sched_setaffinity"),
    (signal, "pidfd_send_signal"),
    (signal, "SIGUSR1"),
    (faulthandler, "register"),
):
    if hasattr(module, name):
        delattr(module, name)
sys.modules["resource"] = None  # type: ignore[assignment]
multiprocessing.get_all_start_methods = lambda: ["spawn"]

real_sysconf, real_open, real_library = os.sysconf, io.open, ctypes.CDLL


class Library(real_library):
    """Has no prctl."""

    def __getattr__(self, name: str) -> Any:
        if name == "prctl":
            raise AttributeError(name)
        return super().__getattr__(name)


def sysconf(name: str) -> int:
    if name == "SC_PHYS_PAGES":
        raise ValueError("unrecognized configuration name")
    return real_sysconf(name)


def open_(file: Any, *arguments: Any, **options: Any) -> Any:
    if str(file).startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", str(file))
    return real_open(file, *arguments, **options)


os.sysconf, ctypes.CDLL = sysconf, Library
builtins.open = io.open = open_
