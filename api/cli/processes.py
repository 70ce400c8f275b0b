"""The processes that `unroll-server up`, and an `unroll-server api` of several processes, run.

It starts them, restarts them with backoff when they die, and stops them in order.

A child dies with its supervisor: on Linux the kernel sends it SIGTERM when the supervisor ends, for whatever reason
(PR_SET_PDEATHSIG is bound to the thread that starts the child, so the main thread starts all of them). Elsewhere the
child is told the supervisor's id and watches it (`followed`, store/parent.py). Each child leads its own process group,
so that Ctrl-C in a terminal reaches only the supervisor, which then stops the children in order.

A process that cannot work is not started for ever: exit code 2 means that it will never work like this, and one that
dies again and again within seconds will not either. The supervisor then stops everything and fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from api.cli.failures import FAILED, WRONG_SETTINGS, Failure

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
SETTLED_SECONDS = 60.0
"""A process that has lived this long was healthy: its next death counts as the first."""

SHORT_SECONDS = 20.0
"""A process that ended sooner did not work at all; one that waits for its database in vain lives longer."""
MANY_DEATHS = 5

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules.

    -P prevents importing a module of the same name from the current folder.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def followed() -> list[str]:
    """Return the arguments that make one of our modules end with this process, where the kernel does not see to it."""
    return [] if _prctl is not None else ["--parent", str(os.getpid())]


@dataclass
class Process:
    """A child that should be running."""

    name: str
    command: Sequence[str]
    grace_seconds: float
    """Seconds between SIGTERM and SIGKILL."""
    pass_fds: tuple[int, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of this process."""
    short_lives: int | None = None
    """The number of deaths in a row, each within seconds of the start, after which it is given up; None: never."""
    after_death: Callable[[int, str], None] = lambda _pid, _how: None
    """Called with the process's id and how it ended, each time that it died without being asked to end."""
    popen: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    short: int = 0
    started: float = 0.0
    start_at: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Start the process, from the main thread."""
        supervisor = os.getpid()

        def follow_supervisor() -> None:
            if _prctl is not None:
                _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
                if os.getppid() != supervisor:  # it died before the line above
                    os._exit(1)

        self.popen = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
            self.command,
            stdin=subprocess.DEVNULL,
            pass_fds=self.pass_fds,
            env=os.environ | self.env,
            process_group=0,
            preexec_fn=follow_supervisor,  # noqa: PLW1509 - the supervisor has no other threads
        )
        self.started = time.monotonic()

    def tend(self, tell: Callable[[str], None]) -> None:
        """Start the process if it is due. If it has died, report that and set the time of its next start.

        Raises Failure if it will never work.
        """
        now = time.monotonic()
        if self.popen is None:
            if now >= self.start_at:
                self.start()
            return
        code = self.popen.poll()
        if code is None:
            return
        self.after_death(self.popen.pid, cause(code))
        self.deaths = 1 if now - self.started > SETTLED_SECONDS else self.deaths + 1
        self.short = self.short + 1 if now - self.started < SHORT_SECONDS else 0
        name = f"{self.name[0].upper()}{self.name[1:]}"
        if code == WRONG_SETTINGS:
            raise Failure(f"{name} cannot work ({cause(code)}); the reason is above.", WRONG_SETTINGS)
        if self.short == self.short_lives:
            raise Failure(
                f"{name} ended {self.short} times within seconds of its start (the last time: {cause(code)}); "
                "the reason is above.",
                FAILED,
            )
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (self.deaths - 1))
        self.popen = None
        self.start_at = now + delay
        tell(f"{self.name} ended ({cause(code)}); it is started again in {delay:g} s")

    def terminate(self) -> None:
        """Ask the process to stop."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.terminate()

    def kill_if_late(self, deadline: float) -> bool:
        """Wait until the deadline, then kill the process and its group. Returns whether that was needed."""
        if self.popen is None:
            return False
        try:
            self.popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.after_death(self.popen.pid, cause(self.popen.wait()))
            return True
        return False


def cause(code: int) -> str:
    """Describe an exit status in words."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


class Supervisor:
    """Keeps processes running until SIGTERM or SIGINT, then stops them group by group."""

    def __init__(
        self, groups: Sequence[Sequence[Process]], tell: Callable[[str], None], parent: int | None = None
    ) -> None:
        """`groups` are in the order in which they are stopped; they start in the opposite order.

        `parent` is the id of the process that started this one; its end stops the supervisor too.
        """
        self.groups = groups
        self.tell = tell
        self.parent = parent
        self.stopping = False
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)

    @property
    def processes(self) -> Iterator[Process]:
        """All processes; those that are stopped last come first."""
        for group in reversed(self.groups):
            yield from group

    def run(self, look: Callable[[], bool]) -> bool:
        """Supervise until told to stop. Returns whether all stopped in time. `look` is called until it returns True."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._handle)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        looked = False
        try:
            while not self.stopping and self.parent in (None, os.getppid()):
                looked = looked or look()
                for process in self.processes:
                    process.tend(self.tell)
                self._sleep(0.25 if looked else 0.05)
        finally:
            in_time = self.stop()
        return in_time

    def stop(self) -> bool:
        """Stop group after group. Returns whether no process had to be killed."""
        in_time = True
        for group in self.groups:
            for process in group:
                process.terminate()
            begun = time.monotonic()
            for process in group:
                if process.kill_if_late(begun + process.grace_seconds):
                    in_time = False
                    self.tell(f"{process.name} did not stop within {process.grace_seconds:g} s and was killed")
        return in_time

    def _handle(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self.stopping = True

    def _sleep(self, seconds: float) -> None:
        """Wait for a signal, but at most this many seconds."""
        select.select([self._woken], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
