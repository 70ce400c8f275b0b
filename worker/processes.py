"""The supervisor's handle on a trainer child.

On Linux, children are forked from a forkserver that has torch loaded. The main thread must start the
forkserver: the kernel's death signal is bound to the thread that started a process, not to the process. Elsewhere each
child is a new interpreter that loads torch itself (spawn), because the libraries of macOS that torch uses may not be
used after a fork.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
from multiprocessing import forkserver, util
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from store import sockets
from worker import lifeline, trainer
from worker.messages import Assignment, Gone, Message, Place, Readiness, Ready, Unfit

KILL_SECONDS = 10.0
LOG_BYTES = 4096
MAX_INBOX = 128
SHOW_SECONDS = 0.2


def context() -> ForkServerContext | SpawnContext:
    """Return the context that starts children. The first call must come before any other use of a forkserver.

    Raises NoFolderForSockets.
    """
    if sys.platform != "linux" or "forkserver" not in multiprocessing.get_all_start_methods():
        # worker/forkserver.py sets it too late for a child that has loaded NumPy before
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        return multiprocessing.get_context("spawn")
    usual, tempfile.tempdir = tempfile.tempdir, sockets.folder()
    util.get_temp_dir()  # multiprocessing makes its own folder there, once and for all
    tempfile.tempdir = usual
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["worker.forkserver"])
    return made


def warm(children: ForkServerContext | SpawnContext) -> None:
    """Begin to load torch in the forkserver, if there is one, and return at once. Call it from the main thread."""
    if isinstance(children, ForkServerContext):
        forkserver.ensure_running()


class TrainerProcess:
    """One child, which waits for its one assignment and then runs it. `next` returns its messages in order."""

    def __init__(self, children: ForkServerContext | SpawnContext, log_file: Path, place: Place) -> None:
        """Start the child. It takes milliseconds, or seconds if the forkserver is still loading torch.

        Raises OSError or EOFError if it cannot be started.
        """
        log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log_file = log_file
        self._scratch = log_file.with_suffix(".scratch")
        self._events, events = children.Pipe(duplex=False)
        control, self._control = children.Pipe(duplex=False)
        self._process: BaseProcess = children.Process(
            target=trainer.main, args=(events, control, str(log_file), place), name=log_file.stem, daemon=True
        )
        self._process.start()
        events.close()
        control.close()
        self._pid = self._process.pid or 0
        self._pidfd: int | None = None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._pidfd = os.pidfd_open(self._pid)
        # A signal handler may call SimpleQueue's put while the same thread waits in its get
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._readiness: queue.SimpleQueue[Readiness | None] = queue.SimpleQueue()
        self._room = threading.Event()
        self._room.set()
        self._closing = False
        self._last_words = ""
        self._reaping = threading.Lock()
        threading.Thread(target=self._read, name=f"reads {log_file.stem}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the child still runs, as far as is known."""
        return self._process.is_alive()

    @property
    def held(self) -> bool:
        """Whether the child is on hold, because nobody takes its messages."""
        return not self._room.is_set()

    def assign(self, assignment: Assignment) -> None:
        """Send the assignment. If the child has died, `next` returns `Gone`."""
        with contextlib.suppress(OSError):
            self._control.send(assignment)

    def stop(self) -> None:
        """Ask the child to make a checkpoint and end."""
        with contextlib.suppress(OSError):
            self._control.send(trainer.STOP)

    def hold(self, *, hold: bool) -> None:
        """Stop taking the child's messages, until it must wait; with `hold=False`, take them again."""
        if hold:
            self._room.clear()
        else:
            self._room.set()

    def next(self, timeout: float) -> Message | None:
        """Return the child's next message.

        Return None if there was no message for `timeout` seconds, or `wake` was called.
        """
        with contextlib.suppress(queue.Empty):
            return self._inbox.get(timeout=max(timeout, 0.0))
        return None

    def readiness(self, timeout: float) -> Readiness | None:
        """Return whether the child, which was just started, can run a job.

        Return None if it did not say so for `timeout` seconds, or `wake` was called.
        """
        with contextlib.suppress(queue.Empty):
            return self._readiness.get(timeout=max(timeout, 0.0))
        return None

    def wake(self) -> None:
        """End a running `next` or `readiness`. A signal handler may call it."""
        self._readiness.put(None)
        self._inbox.put(None)

    def kill(self) -> None:
        """End the child at once. After this it neither computes nor sends messages."""
        if self._closing:
            return
        self._closing = True
        self._room.set()
        # not Process.kill, because if the forkserver died, multiprocessing believes that the child is already dead
        lifeline.send(signal.SIGKILL, self._pid, self._pidfd)
        self._reap(KILL_SECONDS)
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        self._control.close()
        self._last_words = self._log_end()
        self._log_file.unlink(missing_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)  # temporary files of a child that could not remove them

    def show_stacks(self) -> None:
        """Make the child print its stacks, for the log of a child that makes no further step."""
        if trainer.SHOW_STACKS is None:
            return
        lifeline.send(trainer.SHOW_STACKS, self._pid, self._pidfd)
        time.sleep(SHOW_SECONDS)

    def log(self) -> str:
        """Return the end of what the child and its libraries printed."""
        return self._last_words if self._closing else self._log_end()

    def _log_end(self) -> str:
        try:
            with self._log_file.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _read(self) -> None:
        """Receive messages in a thread, so a child that stops in the middle of one cannot block its supervisor."""
        try:
            while not self._closing:
                message = self._events.recv()
                if isinstance(message, Ready | Unfit):
                    self._readiness.put(message)
                    continue
                self._inbox.put(message)
                self._room.wait()
                while self._inbox.qsize() >= MAX_INBOX and not self._closing:
                    time.sleep(0.05)  # while the supervisor waits for the database, the child waits too
        except (EOFError, OSError):
            pass
        finally:
            self._events.close()
        gone = Gone(self._reap(1.0))
        self._readiness.put(gone)
        self._inbox.put(gone)  # its end of the pipe is closed: it has ended, or is about to

    def _reap(self, seconds: float) -> int | None:
        with self._reaping:  # if two threads read a child's exit code at once, one would read 255
            self._process.join(seconds)
            return self._process.exitcode
