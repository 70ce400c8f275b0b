"""Deliberate faults for the chaos tests. Without the variable `UNROLL_FAILPOINT` they cost nothing.

The variable lists `<fault>@<step>/<job name>`, for example `kill@50/poison,hang@5/stuck`. At that step (or the first
later step that an attempt reaches; 0: before training) the child of a job with that name

    kill    sends itself SIGKILL, as the kernel does when memory runs out
    exit    leaves with exit code 3, as a crash in native code might
    hang    is stuck in native code, which keeps the interpreter's lock
    slow    needs a fifth of a second more for every forward pass, if it is armed before training
    raise   raises RuntimeError
    memory  may allocate only 64 MiB more than it has
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

VARIABLE = "UNROLL_FAILPOINT"
MEMORY_BYTES = 64 << 20
SLOW_SECONDS = 0.2


def armed(job_name: str | None) -> Callable[[int], None] | None:
    """Return the function to call at every step, or None if the variable names no fault for this job."""
    for setting in filter(None, os.environ.get(VARIABLE, "").split(",")):
        where, name = setting.split("/")
        if name == job_name:
            fault, step = where.split("@")
            return _reach(setting, int(step), _FAULTS[fault])
    return None


def _reach(setting: str, step: int, act: Callable[[], None]) -> Callable[[int], None]:
    def reached(now: int) -> None:
        if now >= step:
            print(f"failpoint {setting} at step {now}", flush=True)  # noqa: T201 - the child's output is its log
            act()

    return reached


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(3)


def _hang() -> None:
    while True:  # a signal ends the call
        ctypes.PyDLL(None).sleep(3600)


def _slow() -> None:
    from rnn.bptt.whole import BPTT

    forward = BPTT.forward

    def slowly(engine: BPTT) -> None:
        time.sleep(SLOW_SECONDS)
        forward(engine)

    if forward.__name__ != slowly.__name__:
        BPTT.forward = slowly  # type: ignore[method-assign, assignment]


def _raise() -> None:
    raise RuntimeError("asked to fail")


def _memory() -> None:
    import resource  # not every system has it, and trainers on all systems load this module

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed == resource.RLIM_INFINITY:  # only the first time, because a limit cannot be raised again
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


_FAULTS: dict[str, Callable[[], None]] = {
    "kill": _kill,
    "exit": _exit,
    "hang": _hang,
    "slow": _slow,
    "raise": _raise,
    "memory": _memory,
}
