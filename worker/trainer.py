"""The child that runs one job and reports through a pipe. It knows no database, no queue, and no kind of job.

It ends when its job ends, when it is killed, or when its supervisor is gone. When told to stop, it first makes a
checkpoint.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from rnn import kinds, pulse
from rnn.errors import CheckpointError, ConfigurationError
from rnn.events import Artifact, Checkpoint, End, Environment, Event, Metrics, Progress, Started
from rnn.kinds.kind import Context
from worker import failpoints, lifeline
from worker.device import NoDevice, open_device
from worker.messages import Assignment, Bundle, Declared, Failed, Item, Place, Ready, Steps, Unfit

BATCH_SECONDS = 0.05
"""Time between two messages. One message for each step would cost 11 % of a step of 0.6 ms, one every 50 ms costs 4 %
(docs/adr/0002)."""
BEAT_SECONDS = 0.5
"""Time after the last message from which on a beat is passed on. Work whose steps are short never gets there."""
STOP = "stop"
SHOW_STACKS: signal.Signals | None = getattr(signal, "SIGUSR1", None) if hasattr(faulthandler, "register") else None
"""The signal that makes the child print the stack of every thread, even of one that is stuck in native code; None: this
system has no such signal."""


def main(events: Connection, control: Connection, log: str, place: Place) -> None:
    """Run the child process: open the device, wait for the assignment, run the job, report."""
    lifeline.die_with_parent()
    lifeline.first_to_go()
    _write_output_to(Path(log))
    _keep_temporary_files_in(Path(log).with_suffix(".scratch"))
    unfit = _prepare(place)
    if unfit is not None:
        events.send(unfit)
        return
    events.send(Ready())
    try:
        assignment: Assignment = control.recv()
    except EOFError:
        return  # no job came for this child
    stop = threading.Event()
    threading.Thread(target=_listen, args=(control, stop), daemon=True).start()
    outbox = Outbox(events, assignment.step)
    pulse.listen(outbox.beat)
    try:
        _run(assignment, place, outbox, stop)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the job's end and its cause
        if not isinstance(error, ConfigurationError):
            traceback.print_exc()
        sys.stderr.flush()
        outbox.flush()
        events.send(_failure(error))
    events.close()


def _prepare(place: Place) -> Unfit | None:
    """Load what jobs need, and open the device."""
    try:
        import worker.forkserver  # noqa: F401 - loads torch, unless this child was forked with torch loaded

        open_device(place.device, tf32=place.tf32, warm_bytes=place.warm_bytes)
    except ImportError as error:
        traceback.print_exc()
        return Unfit(f"A trainer cannot load its libraries: {error}", ever=True)
    except NoDevice as error:
        return Unfit(str(error), ever=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, it would be the end of every job
        traceback.print_exc()
        return Unfit(f"A trainer cannot open its device: {type(error).__name__}: {error}", ever=False)
    return None


def _write_output_to(log: Path) -> None:
    """Redirect Python's output, native libraries' output, and the stacks of a crash in native code to the log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable(file=2)
    if SHOW_STACKS is not None:
        faulthandler.register(SHOW_STACKS, file=2)


def _keep_temporary_files_in(folder: Path) -> None:
    """Make temporary files where the supervisor removes them, since this process may be killed at any moment."""
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None


def _listen(control: Connection, stop: threading.Event) -> None:
    """Wait for `stop`, and end the process at once if the supervisor is gone, since nobody would read its results."""
    parent = parent_process()
    while True:
        ready = wait([control, *([parent.sentinel] if parent else [])])
        if parent is not None and parent.sentinel in ready:
            os._exit(1)
        try:
            if control.recv() == STOP:
                stop.set()
        except EOFError:
            os._exit(1)


def _run(assignment: Assignment, place: Place, outbox: Outbox, stop: threading.Event) -> None:
    import torch

    config = assignment.config
    torch.set_num_threads(assignment.threads or 1)
    print(f"{assignment.job_id}, attempt {assignment.attempt}, from step {assignment.step}", flush=True)  # noqa: T201
    fault = failpoints.armed(config.name)

    def preempt(step: int) -> bool:
        outbox.advance(step)
        if fault is not None:
            fault(step)
        return stop.is_set()

    context = Context(place.device, place.tf32, preempt, None if assignment.threads else assignment.cores)
    for event in kinds.runner(config.kind)(config, assignment.inputs, assignment.resume, context):
        if isinstance(event, Started):
            outbox.declare(event.environment)
            if fault is not None:
                fault(assignment.step)
        else:
            outbox.add(event)
    outbox.flush()


def _failure(error: Exception) -> Failed:
    import torch

    if isinstance(error, ConfigurationError):  # only the weights show this, when they are made
        return Failed("training_error", f"{error.pointer}: {error.detail}")
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, CheckpointError):
        return Failed("bad_checkpoint", message)
    # torch's allocator on the CPU has no exception of its own
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return Failed("out_of_memory", message)
    return Failed("training_error", message)


class Outbox:
    """Bundles events for BATCH_SECONDS. The first and last event, checkpoints and artifacts are sent at once."""

    def __init__(self, connection: Connection, step: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`step` is the one that the job continues from."""
        self.step = step
        self._connection = connection
        self._clock = clock
        self._metrics: list[Metrics] = []
        self._items: list[Item] = []
        self._due = -1.0
        self._told = step

    def declare(self, environment: Environment) -> None:
        """Report what the job runs on."""
        self._connection.send(Declared(environment))

    def advance(self, step: int) -> None:
        """Record that a step was done."""
        self.step = max(self.step, step)
        if self._clock() >= self._due:
            self.flush()

    def beat(self) -> None:
        """Show that the child is alive although it has nothing else to report."""
        if self._clock() >= self._due + BEAT_SECONDS:
            self.flush(alive=True)

    def add(self, event: Event) -> None:
        """Take an event, and send the bundle when it is time."""
        match event:
            case Metrics():
                self.step = max(self.step, event.step)
                self._metrics.append(event)
            case Progress():
                self.step = max(self.step, event.step)
            case Started():
                raise AssertionError("a job starts once, before anything else")
            case _:
                self.step = max(self.step, getattr(event, "step", 0))
                if isinstance(event, Checkpoint | End):
                    self._close_metrics()
                self._items.append(event)
        if isinstance(event, Checkpoint | Artifact | End) or self._clock() >= self._due:
            self.flush()

    def flush(self, *, alive: bool = False) -> None:
        """Send the bundle. An empty one is sent only to show that the child is alive."""
        self._close_metrics()
        if alive or self._items or self.step != self._told:
            self._connection.send(Bundle(self.step, tuple(self._items)))
            self._items.clear()
            self._told = self.step
        self._due = self._clock() + BATCH_SECONDS

    def _close_metrics(self) -> None:
        if not self._metrics:
            return
        names = tuple(self._metrics[0].values)
        steps = np.array([one.step for one in self._metrics], np.int64)
        values = np.array([[one.values[name] for name in names] for one in self._metrics], np.float64)
        self._items.append(Steps(names, steps, values))
        self._metrics.clear()
