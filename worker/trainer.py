"""The trainer child: runs one assignment and reports through a pipe. It knows no database and no queue.

It ends when its job ends, when it is killed, or when its supervisor is gone. Told to stop, it makes a checkpoint first.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from rnn.errors import CheckpointError, ConfigurationError
from rnn.events import Checkpoint, Diverged, Done, Evaluation, Event, Metrics, Stopped
from unroll.contract import Network
from worker import failpoints, lifeline
from worker.messages import Assignment, Batch, Failed, Item, Started, Steps

BATCH_SECONDS = 0.05
"""One message a step would cost 11 % of a step of 0.6 ms, one every 50 ms costs 4 % (docs/adr/0002)."""
LOG_SECONDS = 1.0
STOP = "stop"
SHOW_STACKS = signal.SIGUSR1
"""Has the child print what every thread is at, even one that is stuck in native code."""


def main(events: Connection, control: Connection, log: str) -> None:
    """The process: wait for the assignment, train, report."""
    lifeline.die_with_parent()
    lifeline.first_to_go()
    _write_output_to(Path(log))
    try:
        assignment: Assignment = control.recv()
    except EOFError:
        return  # never needed
    stop = threading.Event()
    threading.Thread(target=_listen, args=(control, stop), daemon=True).start()
    outbox = Outbox(events, assignment.step)
    try:
        _train(assignment, outbox, events, stop)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the job's end and its cause
        if not isinstance(error, ConfigurationError):
            traceback.print_exc()
        sys.stderr.flush()
        outbox.flush()
        events.send(_failure(error))
    events.close()


def _write_output_to(log: Path) -> None:
    """Python's output, native libraries' output, and the stacks of a crash in native code."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable(file=2)
    faulthandler.register(SHOW_STACKS, file=2)


def _listen(control: Connection, stop: threading.Event) -> None:
    """Hear `stop`; leave at once when the supervisor is gone, for nobody would take what this process computes."""
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


def _train(assignment: Assignment, outbox: Outbox, events: Connection, stop: threading.Event) -> None:
    import torch

    from rnn.bptt import cuda
    from rnn.training.environment import describe
    from rnn.training.run import train

    torch.set_num_threads(assignment.threads)
    job, device, tf32 = assignment.job, assignment.device, assignment.tf32
    if device == "cuda":
        cuda.prepare(tf32=tf32)  # before anything starts CUDA, as `describe` does
    network = job.model if isinstance(job.model, Network) else None  # rnn.training.run refuses anything else
    omega = job.training.regularisation.omega
    environment = describe(device, network, job.dtype, job.replicas, omega=omega, tf32=tf32)
    _log(f"{assignment.job_id}, attempt {assignment.attempt}, from step {assignment.step}: {environment}")
    events.send(Started(environment))
    fault = failpoints.armed(job.name)
    if fault is not None:
        fault(assignment.step)

    def preempt() -> bool:
        outbox.advance()
        if fault is not None:
            fault(outbox.step)
        return stop.is_set()

    logged = -LOG_SECONDS
    for event in train(job, assignment.resume, device=device, tf32=tf32, preempt=preempt):
        outbox.add(event)
        if isinstance(event, Diverged | Stopped | Done) or (
            isinstance(event, Evaluation) and time.monotonic() - logged >= LOG_SECONDS
        ):
            logged = time.monotonic()
            _log(_line(event))
    outbox.flush()


def _line(event: Diverged | Stopped | Done | Evaluation) -> str:
    match event:
        case Diverged():
            cause = f"loss {event.loss:.6g}, gradient norm {event.gradient_norm:.6g}"
            return f"step {event.step}: replica {event.replica} diverged ({cause}). {event.hint}"
        case Stopped():
            cause = f"{event.reason}, held-out loss {event.loss:.6g}"
            return f"step {event.step}: replica {event.replica} stopped ({cause})"
        case Evaluation():
            return f"step {event.step}: held-out loss " + " ".join(f"{loss:.6g}" for loss in event.loss)
        case Done():
            return f"step {event.step}: {event.outcome}"


def _log(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)  # noqa: T201 - standard output is the job's log


def _failure(error: Exception) -> Failed:
    import torch

    if isinstance(error, ConfigurationError):  # what only the weights show, when they are made
        return Failed("training_error", f"{error.pointer}: {error.detail}")
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, CheckpointError):
        return Failed("bad_checkpoint", message)
    # torch's allocator on the CPU has no exception of its own
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return Failed("out_of_memory", message)
    return Failed("training_error", message)


class Outbox:
    """Batches events for BATCH_SECONDS; the first one, checkpoints and the last one leave at once."""

    def __init__(self, connection: Connection, step: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`step` is the one that training goes on from."""
        self.step = step
        self._run = step
        self._connection = connection
        self._clock = clock
        self._metrics: list[Metrics] = []
        self._items: list[Item] = []
        self._due = -1.0
        self._told = step

    def advance(self) -> None:
        """One more step was run."""
        self._run += 1
        self.step = max(self.step, self._run)
        if self._clock() >= self._due:
            self.flush()

    def add(self, event: Event) -> None:
        """Take an event; send what there is when it is time."""
        self.step = max(self.step, event.step)
        if isinstance(event, Metrics):
            self._metrics.append(event)
        else:
            if isinstance(event, Checkpoint | Done):
                self._close_metrics()
            self._items.append(event)
        if isinstance(event, Checkpoint | Done) or self._clock() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        self._close_metrics()
        if self._items or self.step != self._told:
            self._connection.send(Batch(self.step, tuple(self._items)))
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
