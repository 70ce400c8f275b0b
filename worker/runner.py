"""One worker's work: claim a job, have a child run it, write what it reports, and end it properly.

The database decides everything: if a report finds that the lease is gone, the child is ended and nothing else is
written.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import platform
import re
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import TypeVar

from rnn.events import End
from rnn.kinds import kind
from rnn.kinds.kind import Inputs
from store import cores, fleet, inputs, leases, logs
from store.db import Database
from store.errors import DatabaseUnavailable, InputGone, LeaseLost, QuotaExceeded, TornBlob
from store.leases import Lease, ResumePoint
from store.queue import Doorbell, Notifier
from store.settings import Settings
from unroll.contract import Environment, JobError
from worker.messages import Assignment, Bundle, Declared, Failed, Gone, Place, Ready, Unfit
from worker.processes import TrainerProcess
from worker.recorder import Recorder

log = logging.getLogger(__name__)

READY_SECONDS = 300.0
RETRY_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0)
SLACK_SECONDS = 1.0
"""How much later than it meant to a supervisor looks at its child without having been stopped."""
OLD_LOG_SECONDS = 7 * 86_400.0
ABORTED_ALLOCATION = re.compile(r"memory allocation of \d+ bytes failed")
"""What Rust libraries, such as safetensors, write before they abort their process where memory runs out."""
Answer = TypeVar("Answer")


class CannotWork(Exception):
    """No trainer can run jobs here."""

    def __init__(self, message: str, *, ever: bool) -> None:
        """`ever` says whether that stays so, until the settings or the machine are changed."""
        super().__init__(message)
        self.ever = ever


class Runner:
    """The slot of one worker process.

    `work` and `drain` belong to the main thread; `drain` may interrupt `work`.
    """

    def __init__(
        self,
        settings: Settings,
        db: Database,
        worker_id: str,
        doorbell: Doorbell,
        notifier: Notifier,
        children: ForkServerContext | SpawnContext,
    ) -> None:
        """Starts nothing."""
        self.settings, self.db, self.worker_id = settings, db, worker_id
        self.doorbell, self.notifier = doorbell, notifier
        self.job_id: str | None = None
        """The job that it runs, for the heartbeat."""
        self.drain_until: float | None = None
        """When its grace time ends, after it was told to stop."""
        self.broken: CannotWork | None = None
        """Why it stopped by itself."""
        self._children = children
        self._logs = settings.data_dir / "trainers"
        self._numbers = itertools.count(1)
        self._child: TrainerProcess | None = None

    @property
    def draining(self) -> bool:
        """Whether it was told to stop."""
        return self.drain_until is not None

    def cores(self) -> int:
        """Return this worker's share of the machine's cores. Raises DatabaseUnavailable."""
        alive_seconds = fleet.HEARTBEATS * self.settings.reconcile_seconds
        beside = fleet.count_beside(self.db, self.worker_id, platform.node()[:255], alive_seconds)
        # of those that `up` starts together, the first may have a job before the others are known
        return cores.share(max(1 + beside, self.settings.workers))

    def work(self) -> None:
        """Run queued jobs until none is left that this worker can run, or until it is told to stop."""
        while not self.draining:
            # the child comes first, so that no lease runs while it, or a forkserver that died, gets ready again
            try:
                child = self._spare()
            except CannotWork as error:
                log.error("no trainer can run a job here, so this worker stops: %s", error)  # noqa: TRY400 - it is told
                self.broken = error
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if child is None:
                return
            try:
                settings = self.settings
                lease = leases.claim(
                    self.db, self.worker_id, settings.device, settings.lease_seconds, settings.claim_order
                )
            except DatabaseUnavailable as error:
                log.warning("cannot claim: %s", error)
                return
            if lease is None:
                return
            self.job_id = lease.job_id
            logs.about(job=lease.job_id, attempt=lease.attempt, **logs.trace(lease.traceparent))
            log.info("%s: attempt %d", lease.job_id, lease.attempt)
            try:
                Attempt(self, lease, child).run()
            except LeaseLost as lost:
                log.warning("%s", lost)
            except DatabaseUnavailable as error:
                log.warning("%s is left to whoever finds its lease expired: %s", lease.job_id, error)
            except Exception as error:
                # an error in this program must not hold the job until the lease expires, nor for ever
                log.exception("%s: the supervisor failed", lease.job_id)
                child.kill()
                cause = JobError(code="crashed", message=f"The worker failed: {type(error).__name__}: {error}")
                with contextlib.suppress(LeaseLost, DatabaseUnavailable):
                    leases.crash(lease, cause, self.settings.max_crashes)
            finally:
                self._child = None
                child.kill()
                self.job_id = None
                logs.about()
                self.notifier.publish(lease.job_id)

    def prepare(self) -> None:
        """Start a child, so that the next job starts at once, and remove logs that killed workers left.

        Raises CannotWork.
        """
        self._spare()
        for log_file in self._logs.glob("*.log"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - log_file.stat().st_mtime > OLD_LOG_SECONDS:
                    log_file.unlink()
                    shutil.rmtree(log_file.with_suffix(".scratch"), ignore_errors=True)

    def drain(self) -> None:
        """Stop: checkpoint the current job and give it back. A signal handler may call it, and twice."""
        if self.drain_until is None:
            self.drain_until = time.monotonic() + self.settings.drain_seconds
        if (child := self._child) is not None:
            child.wake()

    def close(self) -> None:
        """End the child that waits for a job."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _spare(self) -> TrainerProcess | None:
        """Return a child that is ready for a job, or None if it was told to stop meanwhile. Raises CannotWork."""
        if self._child is not None and not self._child.alive:
            self.close()
        for last in (False, True):
            if self._child is None and not self.draining:
                self._start(last=last)
        return None if self.draining else self._child

    def _start(self, *, last: bool) -> None:
        """Start a child and wait until it is ready. One that dies first is replaced, unless it was the `last` try."""
        settings, name = self.settings, f"{self.worker_id.replace('/', '-')}-{next(self._numbers)}.log"
        place = Place(settings.device, settings.tf32, settings.warm_bytes)
        try:
            self._child = child = TrainerProcess(self._children, self._logs / name, place)
        except (OSError, EOFError) as error:
            if not last:
                return
            message = f"The process that trainers are forked from ended, or never began: {error!r}"
            raise CannotWork(message, ever=False) from error
        deadline = time.monotonic() + READY_SECONDS
        while not self.draining:
            match child.readiness(deadline - time.monotonic()):
                case Ready():
                    return
                case Unfit(message, ever):
                    raise CannotWork(message, ever=ever)
                case Gone(exit_code) if last:
                    words = (child.log().strip().splitlines() or ["none"])[-1]
                    raise CannotWork(f"{_cause(exit_code).message} Its last words: {words}", ever=False)
                case Gone():
                    self.close()
                    return
                case None if time.monotonic() > deadline:
                    raise CannotWork(f"A trainer was not ready after {READY_SECONDS:.0f} s.", ever=False)


class Attempt:
    """One attempt of one job, by the worker that holds its lease."""

    def __init__(self, runner: Runner, lease: Lease, child: TrainerProcess) -> None:
        """Nothing has happened yet."""
        self._runner, self._lease, self._child = runner, lease, child
        self._settings = runner.settings
        self._point: ResumePoint | None = None
        self._stopping = False
        self._began = time.monotonic()
        self._out_of_time = False

    def run(self) -> None:
        """Run the attempt from the claim to the end.

        Raises LeaseLost, and DatabaseUnavailable if the grace time ran out.
        """
        lease = self._lease
        if lease.resumed:
            self._point = self._insist(lambda: leases.resume_point(lease))
        self._recorder = Recorder(lease, self._point.step if self._point else 0)
        try:
            read = self._read()
        except InputGone as gone:
            self._fail(JobError(code="input_gone", message=str(gone)))
            return
        except TornBlob as torn:
            self._fail(JobError(code="bad_checkpoint", message=str(torn)))
            return
        point = self._point
        step = point.step if point else 0
        resume = (point.weights, point.state) if point else None
        threads = self._threads()
        self._child.assign(
            Assignment(
                lease.job_id,
                lease.attempt,
                lease.config,
                read,
                resume,
                step,
                threads,
                threads or self._insist(self._runner.cores),
            )
        )
        try:
            self._supervise()
        except QuotaExceeded as full:  # it has not stored what was too much
            self._child.kill()
            self._fail(JobError(code="quota_exceeded", message=str(full), step=self._recorder.step))

    def _threads(self) -> int:
        """Return the number of threads, or 0 for the trainer to choose it.

        A resumed job keeps the number that it had: with another one its bits would differ from here on.
        """
        kept = self._lease.threads if self._settings.device == "cpu" else None
        return self._settings.threads or kept or 0

    def _read(self) -> Inputs:
        """Return what the job reads. Raises InputGone and TornBlob."""
        lease = self._lease
        if not lease.config.checkpoints_read():
            return Inputs()

        def load() -> dict[str, inputs.CheckpointRead]:
            # the job's row is locked meanwhile: nobody takes a job whose lease runs out over a large checkpoint
            with leases.fenced(lease) as (tx, _):
                return inputs.load(tx, lease.tenant, lease.job_id)

        found = self._insist(load)
        self._insist(self._recorder.write)  # renews the lease
        return Inputs(
            {checkpoint_id: one.about for checkpoint_id, one in found.items()},
            {checkpoint_id: one.weights for checkpoint_id, one in found.items()},
        )

    def _supervise(self) -> None:
        settings, child, recorder = self._settings, self._child, self._recorder
        patience = kind.patience(self._lease.facts.get("part_seconds", 0.0), settings.stall_seconds)
        looked = time.monotonic()
        due = looked + settings.flush_seconds
        retries, first, silent = 0, True, 0.0
        while True:
            message = child.next(due - time.monotonic())
            now = time.monotonic()
            # Every message is made by work. If this process itself was stopped, or waited long for the database, that
            # says nothing of the child: only about as much counts as it meant to wait.
            pause = min(now - looked, settings.flush_seconds + SLACK_SECONDS)
            silent = 0.0 if message is not None or child.held else silent + pause
            looked = now
            match message:
                case Declared():
                    self._insist(lambda: self._declare(message))  # noqa: B023 - called before the next message
                case Bundle():
                    if first and (message.items or message.step > recorder.step):
                        due, first = now, False  # whoever waits for the first step learns of it at once
                    recorder.add(message)
                    child.hold(hold=recorder.full)
                case Failed():
                    return self._failed(message)
                case Gone():
                    return self._gone(message.exit_code)
            if recorder.ended is not None:
                return self._finish(recorder.ended)
            if now >= due:
                try:
                    requested = recorder.write()
                except DatabaseUnavailable as error:
                    due = now + RETRY_SECONDS[min(retries, len(RETRY_SECONDS) - 1)]
                    retries += 1
                    log.warning("%s: %s; the trainer goes on meanwhile", self._lease.job_id, error)
                else:
                    due, retries = now + settings.flush_seconds, 0
                    child.hold(hold=False)
                    self._runner.notifier.publish(self._lease.job_id)
                    if requested == "cancel":
                        return self._cancelled()
                    if requested == "pause":
                        self._stop()
            if silent > patience:
                child.show_stacks()
                return self._crashed(JobError(code="stalled", message=self._silence(silent)))
            if self._late(now) > 0:
                self._out_of_time = True
                self._stop()
                if self._late(now) > settings.drain_seconds:
                    return self._too_late()
            if (until := self._runner.drain_until) is not None:
                self._stop()
                if now > until:
                    child.kill()
                    return self._give_back()

    def _late(self, now: float) -> float:
        """Return for how long the attempt has run beyond the time that it may run."""
        may_run = self._lease.may_run
        return 0.0 if may_run is None else now - self._began - may_run.seconds

    def _too_late(self) -> None:
        """Fail the job because its time is over. Its last checkpoint is kept, and a retry continues from there."""
        may_run = self._lease.may_run
        assert may_run is not None  # noqa: S101 - what `_late` has found
        self._child.kill()
        self._insist(self._recorder.write)
        message = f"The job ran longer than it may: {may_run.by} s. Its last checkpoint is kept."
        self._fail(JobError(code="time_limit", message=message, step=self._recorder.step))

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._child.stop()

    def _declare(self, declared: Declared) -> None:
        leases.declare(self._lease, Environment(worker=self._runner.worker_id, **declared.environment))

    def _finish(self, end: End) -> None:
        """Write the end that the child has reported."""
        lease = self._lease
        self._child.kill()
        requested = self._insist(self._recorder.write)
        match end.outcome:
            case "succeeded":
                self._insist(lambda: leases.end(lease, "succeeded"))
                log.info("%s succeeded", lease.job_id)
            case "failed":
                code, message = end.error or ("training_error", "The job failed without a reason.")
                self._fail(JobError(code=code, message=message, step=end.step))
            case "preempted" if requested == "cancel":
                self._insist(lambda: leases.end(lease, "cancelled"))
            case "preempted" if self._out_of_time:
                self._too_late()
            case "preempted":
                self._give_back()

    def _failed(self, failed: Failed) -> None:
        """Fail the job, because the child would meet the same exception again.

        Only an unreadable checkpoint can be skipped.
        """
        self._insist(self._recorder.write)
        error = JobError(code=failed.code, message=failed.message, step=self._recorder.step)
        if failed.code == "bad_checkpoint" and (point := self._point) is not None:
            with leases.fenced(self._lease) as (tx, row):
                leases.discard(tx, row, point.checkpoint_id)
            self._crashed(error)
        else:
            self._fail(error)

    def _gone(self, exit_code: int | None) -> None:
        """The child is dead. Where its log says that memory ran out, it would run out again."""
        asked = ABORTED_ALLOCATION.search(self._child.log()) if exit_code == -signal.SIGABRT else None
        if asked is None:
            return self._crashed(_cause(exit_code))
        self._insist(self._recorder.write)
        self._fail(JobError(code="out_of_memory", message=f"A {asked.group()}.", step=self._recorder.step))
        return None

    def _fail(self, error: JobError) -> None:
        told = error.model_copy(update={"log": self._child.log() or None})
        self._insist(lambda: leases.end(self._lease, "failed", error=told))
        log.warning("%s failed: %s", self._lease.job_id, error.message)

    def _crashed(self, error: JobError) -> None:
        """Queue the job again after its child died or had to be ended, or fail it if that has happened too often."""
        told = error.model_copy(update={"log": self._child.log() or None})
        self._child.kill()
        self._insist(self._recorder.write)
        self._insist(lambda: leases.crash(self._lease, told, self._settings.max_crashes))
        log.warning("%s: %s", self._lease.job_id, error.message)
        if self._runner.draining:
            self._ring()

    def _cancelled(self) -> None:
        self._child.kill()
        self._insist(lambda: leases.end(self._lease, "cancelled"))

    def _give_back(self) -> None:
        """Give the job back, to its pause or to the queue.

        It is at a checkpoint, unless the grace time was too short for one.
        """
        self._insist(lambda: leases.give_back(self._lease, drained=self._runner.draining))
        if self._runner.draining:
            self._ring()

    def _ring(self) -> None:
        """Ring for the job again, because the message that brought it here was acknowledged long ago."""
        self._runner.doorbell.ring(self._lease.job_id, self._lease.config.device)

    def _silence(self, seconds: float) -> str:
        return f"The trainer gave no sign of life for {seconds:.0f} s after step {self._recorder.step}."

    def _insist(self, write: Callable[[], Answer]) -> Answer:
        """Write, and try again while the database is away. Raises DatabaseUnavailable only after the grace time."""
        for wait in itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1])):
            try:
                return write()
            except DatabaseUnavailable as error:
                until = self._runner.drain_until
                if until is not None and time.monotonic() + wait > until:
                    raise
                log.warning("%s: %s; trying again", self._lease.job_id, error)
                time.sleep(wait)
        raise AssertionError


def _cause(exit_code: int | None) -> JobError:
    """Return a dead child's exit code in words."""
    if exit_code == -9:
        message = "The trainer was killed by SIGKILL; usually the machine ran out of memory."
    elif exit_code is not None and exit_code < 0:
        message = f"The trainer was killed by signal {-exit_code}."
    elif exit_code == 255:
        message = "The trainer's forkserver died (exit code 255)."
    else:
        message = f"The trainer ended with exit code {exit_code}."
    return JobError(code="crashed", message=message)
