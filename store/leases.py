"""What workers do with a job of any kind: claim it, write under the fence, give it back. docs/adr has the reasons.

The fence: every write names its attempt, in a transaction that first updates, and so locks, the job's row if its status
is running and its attempt is this one. A worker whose lease was taken away updates no row and gets LeaseLost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select, update

from store import artifacts, blobs, checkpoints, inputs, journal, metrics, quotas, stored, turns
from store.artifacts import NewArtifact
from store.checkpoints import NewCheckpoint
from store.db import Database, db_now
from store.errors import LeaseLost, TornBlob
from store.job_view import config
from store.journal import Entry
from store.recovery import crashed, hand_back
from store.states import move
from store.tables import checkpoints as checkpoint_rows
from store.tables import jobs, keys
from unroll.contract import Environment, JobError, JobRequest, Requested


@dataclass(frozen=True)
class Allowed:
    """The time that an attempt may run, and what says so."""

    seconds: float
    by: str


@dataclass(frozen=True)
class Lease:
    """The right to write one attempt of one job."""

    db: Database
    job_id: str
    tenant: str
    attempt: int
    seconds: float
    config: JobRequest
    total: int
    """Number of steps that the job's progress counts."""
    resumed: bool
    """Whether an earlier attempt ran."""
    facts: Mapping[str, Any]
    """What was known about the job when it was submitted."""
    threads: int | None
    """How many threads of a CPU the last attempt used; None: it did not run on one."""
    traceparent: str | None
    """The trace context of the request that submitted the job."""
    may_run: Allowed | None = None
    """How long this attempt may run; None: as long as it takes."""


@dataclass(frozen=True)
class ResumePoint:
    """Where to continue: a checkpoint's step and contents."""

    checkpoint_id: str
    step: int
    weights: bytes
    state: bytes


def claim(
    db: Database,
    worker_id: str,
    device: Literal["cpu", "cuda"],
    lease_seconds: float,
    order: turns.Order = "turns",
) -> Lease | None:
    """Take the next queued job that this device can run (store/turns.py). None if there is none.

    A job whose input was deleted while it waited fails here, and the next one is taken.
    """
    with db.read() as tx:  # a worker that finds nothing must not have taken SQLite's one write lock
        if turns.following(tx, device, order) is None:
            return None
    passed: set[str] = set()
    with db.begin() as tx:
        turns.lock(tx)
        while True:
            turn = turns.following(tx, device, order, passed)
            if turn is None:
                return None
            passed.add(turn.job_id)  # whatever becomes of it
            job = select(jobs.c.id).where(jobs.c.id == turn.job_id, jobs.c.status == "queued")
            if tx.execute(job.with_for_update(skip_locked=True)).first() is None:
                continue  # somebody cancels or pauses it at this moment
            missing = inputs.gone(tx, turn.job_id)
            if missing is None:
                break
            _cannot_run(tx, turn.job_id, JobError(code="input_gone", message=f"The checkpoint {missing} was deleted."))
        row = move(
            tx,
            turn.job_id,
            "queued",
            "running",
            attempt=jobs.c.attempt + 1,
            lease_owner=worker_id,
            lease_expires=db_now() + lease_seconds,
            claimed_at=db_now(),
            started_at=func.coalesce(jobs.c.started_at, db_now()),
        )
        if row is None:
            return None
        if order == "turns":
            turns.take(tx, turn, device)
        kept = checkpoints.resumable(tx, row.id)
        to_step = kept[0].step if kept else 0
        _rewind(tx, row, to_step)
        journal.append(tx, row.id, [("started", {"attempt": row.attempt, "worker": worker_id, "step": to_step})])
        wanted, may_run = _time_left(tx, row, config(row))
        ran = row.environment if row.attempt > 1 else None
        return Lease(
            db,
            row.id,
            row.tenant,
            row.attempt,
            lease_seconds,
            wanted,
            row.total,
            resumed=row.attempt > 1,
            facts=row.facts,
            threads=ran["threads"] if ran and ran["device"] == "cpu" else None,
            traceparent=row.traceparent,
            may_run=may_run,
        )


SHORTEST_SECONDS = 0.001
LATE_SECONDS = 5.0
"""Time in which a run that watches `max_seconds` ends by itself, before it is ended."""


def _time_left(tx: Connection, row: Row[Any], wanted: JobRequest) -> tuple[JobRequest, Allowed | None]:
    """Return the configuration with the part of its `max_seconds` that is left, and how long the attempt may run."""
    found = []
    if wanted.max_seconds is not None:
        left = max(wanted.max_seconds - row.ran_seconds, SHORTEST_SECONDS)
        found.append(Allowed(left + LATE_SECONDS, f"its max_seconds of {wanted.max_seconds:,g}"))
        if row.ran_seconds:
            wanted = wanted.model_copy(update={"max_seconds": left})
    key = tx.execute(select(keys.c.limits).where(keys.c.id == row.key_id)).scalar_one_or_none()
    for limits, whose in ((quotas.read(key), "key"), (quotas.of_tenant(tx, row.tenant).limits, "tenant")):
        if (most := limits.job_seconds) is not None:
            left = max(most - row.ran_seconds, SHORTEST_SECONDS)
            found.append(Allowed(left, f"the limit job_seconds of its {whose}, {most:,g}"))
    return wanted, min(found, key=lambda one: one.seconds, default=None)


def _cannot_run(tx: Connection, job_id: str, error: JobError) -> None:
    """End a queued job that no worker could run."""
    told = error.model_dump(mode="json")
    move(tx, job_id, "queued", "failed", error=told)
    journal.append(tx, job_id, [("end", {"status": "failed", "error": told})])


def _rewind(tx: Connection, row: Row[Any], to_step: int) -> None:
    """Withdraw what an earlier attempt reported after its last good checkpoint, so that curves repeat no points."""
    of_checkpoint = select(checkpoint_rows.c.summary).where(
        checkpoint_rows.c.job_id == row.id, checkpoint_rows.c.step == to_step
    )
    summary = tx.execute(of_checkpoint).scalar_one_or_none()
    withdrawn = metrics.withdraw(tx, row.id, to_step) + checkpoints.withdraw(tx, row.id, to_step)
    # a job without a checkpoint also makes again the artifacts from before its first step
    withdrawn += artifacts.withdraw(tx, row.id, -1 if summary is None else to_step)
    if withdrawn:
        stored.measure(tx, row)
    # the End event may have been recorded at the very step of a checkpoint, before the job itself was ended
    if withdrawn or row.step > to_step or row.summary != (summary or {}):
        values = {"step": to_step, "summary": summary or {}, **checkpoints.best_and_last(tx, row.id)}
        tx.execute(update(jobs).where(jobs.c.id == row.id).values(values))
        journal.append(tx, row.id, [("rewind", {"to_step": to_step, "attempt": row.attempt})])


def resume_point(lease: Lease) -> ResumePoint | None:
    """Return the newest checkpoint whose content is whole, or None to start at step 0. Raises LeaseLost.

    A damaged checkpoint loses its resume state, and what was reported after the checkpoint before it is withdrawn.
    """
    while True:
        with fenced(lease) as (tx, row):
            kept = checkpoints.resumable(tx, lease.job_id)
            if not kept:
                _rewind(tx, row, 0)
                return None
            newest = kept[0]
            try:
                weights = blobs.get(tx, newest.weights_sha256)
                state = blobs.get(tx, newest.state_sha256)
            except TornBlob:
                discard(tx, row, newest.id)
                continue
            _rewind(tx, row, newest.step)
            return ResumePoint(newest.id, newest.step, weights, state)


def discard(tx: Connection, job: Row[Any], checkpoint_id: str) -> None:
    """Never resume from this checkpoint of the job again."""
    tx.execute(update(checkpoint_rows).where(checkpoint_rows.c.id == checkpoint_id).values(state_sha256=None))
    stored.measure(tx, job)


@contextmanager
def fenced(lease: Lease, **values: Any) -> Iterator[tuple[Connection, Row[Any]]]:
    """Open a transaction in which the lease holds and is renewed and `values` are set on the job. Raises LeaseLost."""
    with lease.db.begin() as tx:
        row = tx.execute(
            update(jobs)
            .where(jobs.c.id == lease.job_id, jobs.c.status == "running", jobs.c.attempt == lease.attempt)
            .values(lease_expires=db_now() + lease.seconds, **values)
            .returning(jobs)
        ).one_or_none()
        if row is None:
            raise LeaseLost(f"Attempt {lease.attempt} of {lease.job_id} no longer holds the lease.")
        yield tx, row


@dataclass
class Report:
    """What a job did since the last report. It is written in one transaction."""

    blocks: Sequence[metrics.Block] = ()
    entries: Sequence[Entry] = ()
    checkpoint: NewCheckpoint | None = None
    artifacts: Sequence[NewArtifact] = ()
    step: int | None = None
    latest: dict[str, list[float | None]] | None = None
    """The last logged value of each metric that is shown with the progress, [R]."""
    steps_per_second: float | None = None
    collected: Sequence[tuple[str, dict[str, Any]]] = ()
    """Entries that are added to lists in the job's summary, each with the name of its list."""
    summary: dict[str, Any] | None = None
    """Fields that are set in the job's summary."""


def report(lease: Lease, what: Report, *, again: bool = False) -> Requested | None:
    """Write a report, renew the lease, and return what the user has requested of the job. Raises LeaseLost.

    Raises QuotaExceeded, and writes nothing, if the key or its tenant would store more than it may.
    An empty report is a heartbeat. Blocks must not reach beyond the checkpoint of the same report. `again` says that
    the connection broke at an earlier try, which may have been committed. Then nothing is written twice, except the
    entries of a report that has only entries, since these cannot be recognised.
    """
    values: dict[str, Any] = {}
    if what.step is not None:
        values["step"] = what.step
    if what.latest is not None:
        values["latest"] = what.latest
    if what.steps_per_second is not None:
        values["steps_per_second"] = what.steps_per_second
    with fenced(lease, **values) as (tx, row):
        if again and _written(tx, lease, row, what):
            return row.requested  # type: ignore[no-any-return]
        for block in what.blocks:
            metrics.write(tx, lease.job_id, block)
        entries = list(what.entries)
        changes: dict[str, Any] = {}
        summary = row.summary | (what.summary or {})
        for name, item in what.collected:
            summary[name] = [*summary.get(name, []), item]
        if summary != row.summary:
            changes["summary"] = summary
        for new in what.artifacts:
            about = artifacts.write(tx, lease.job_id, lease.attempt, row.step, new)
            entries.append(("artifact", about))
        if what.artifacts:  # a large one may have taken long to write
            changes["lease_expires"] = db_now() + lease.seconds
        if what.checkpoint is not None:
            of_checkpoint, changed = _write_checkpoint(tx, lease, row, what.checkpoint, summary)
            entries += of_checkpoint
            changes |= changed
        if changes:
            tx.execute(update(jobs).where(jobs.c.id == lease.job_id).values(changes))
        if (what.artifacts or what.checkpoint is not None) and stored.measure(tx, row) > 0:
            quotas.require_storage(tx, row.tenant, row.key_id)
        journal.append(tx, lease.job_id, entries)
        return row.requested  # type: ignore[no-any-return]


def _written(tx: Connection, lease: Lease, row: Row[Any], what: Report) -> bool:
    if what.blocks:
        return metrics.has(tx, lease.job_id, int(what.blocks[0].steps[0]))
    if what.artifacts:
        return artifacts.has(tx, lease.job_id, lease.attempt, row.step, what.artifacts[-1])
    if what.collected:
        name, item = what.collected[-1]
        return item in row.summary.get(name, [])
    return what.checkpoint is not None and any(
        kept.step == what.checkpoint.step and kept.attempt == lease.attempt
        for kept in checkpoints.resumable(tx, lease.job_id)
    )


def _write_checkpoint(
    tx: Connection, lease: Lease, row: Row[Any], new: NewCheckpoint, summary: dict[str, Any]
) -> tuple[list[Entry], dict[str, Any]]:
    checkpoint_id = checkpoints.write(tx, lease.tenant, lease.job_id, lease.attempt, new, summary)
    if checkpoint_id == row.last_checkpoint:  # the one that the attempt started from: no progress
        return [], {}
    # the lease is renewed once more, because a large checkpoint may have taken long to write
    changes: dict[str, Any] = {
        "last_checkpoint": checkpoint_id,
        "crashes": 0,
        "lease_expires": db_now() + lease.seconds,
    }
    if new.keep is not None:
        checkpoints.prune(tx, lease.job_id, new.keep)
    best = False
    if new.losses is not None and new.best_replica is not None:
        loss = new.losses[new.best_replica]
        if loss is not None and (row.best_loss is None or loss < row.best_loss):
            best = True
            changes |= {"best_checkpoint": checkpoint_id, "best_replica": new.best_replica, "best_loss": loss}
    data = {"checkpoint": checkpoint_id, "step": new.step, "reason": new.reason, "best": best}
    return [("checkpoint", data)], changes


def declare(lease: Lease, environment: Environment) -> None:
    """Record what this attempt runs on, and write an entry if an earlier attempt ran on something else.

    Raises LeaseLost.
    """
    now = environment.model_dump(mode="json")
    with fenced(lease) as (tx, row):
        tx.execute(update(jobs).where(jobs.c.id == lease.job_id).values(environment=now))
        before = row.environment
        if before and {**before, "worker": ""} != {**now, "worker": ""}:
            journal.append(tx, lease.job_id, [("environment_changed", {"before": before, "now": now})])


def end(
    lease: Lease,
    status: Literal["succeeded", "failed", "cancelled"],
    *,
    error: JobError | None = None,
) -> None:
    """End the job. Whatever was requested meanwhile comes too late, because there is one end state.

    Raises LeaseLost.
    """
    with fenced(lease) as (tx, row):
        full = error and {**error.model_dump(mode="json"), "checkpoint": row.last_checkpoint}
        move(tx, lease.job_id, "running", status, error=full)
        # only the job's row keeps the log, because a journal is read again and again
        journal.append(tx, lease.job_id, [("end", {"status": status, "error": full and {**full, "log": None}})])


def give_back(lease: Lease, *, drained: bool) -> None:
    """Stop before the end, at a checkpoint: paused by the user, or `drained` because the worker leaves.

    What the user requests at this moment decides: a pause may have become a cancel, or may have been withdrawn. Raises
    LeaseLost.
    """
    with fenced(lease) as (tx, row):
        # without a drain it stopped for a pause, which was withdrawn meanwhile
        hand_back(tx, row, "drained" if drained else "resumed")


def crash(lease: Lease, error: JobError, max_crashes: int) -> None:
    """Record that the attempt died: queue the job again, or fail it after `max_crashes`. Raises LeaseLost."""
    with fenced(lease) as (tx, row):
        crashed(tx, row, error, max_crashes)
