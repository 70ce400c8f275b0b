"""Deletes old jobs that nobody serves, reads or continues, and checkpoints beside those that are needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, select, union_all

from store import blobs as contents
from store.db import Database, db_now
from store.tables import artifacts, blobs, checkpoints, inputs, jobs, models
from unroll.contract import ENDED

AT_ONCE = 20
"""Number of jobs that one transaction deletes, so that other writers do not wait for long."""


@dataclass(frozen=True)
class Pruned:
    """What was deleted, or would be."""

    jobs: int
    checkpoints: int
    artifacts: int
    bytes: int
    """Size of the checkpoints' and artifacts' contents."""


def prune(db: Database, older_than: float, *, tenant: str | None = None, dry_run: bool = False) -> Pruned:
    """Delete what ended more than `older_than` seconds ago and nobody needs, of one tenant or of all.

    A job stays if a registered model serves one of its checkpoints, or serves it by default; and if a job that stays
    reads one of its checkpoints or is its child. Of an old job that stays, checkpoints go that are neither its best nor
    its last, nor pinned, nor read by a job that stays. Unfinished jobs and their checkpoints stay.
    """
    old = [jobs.c.status.in_(ENDED), jobs.c.ended_at < db_now() - older_than]
    if tenant is not None:
        old.append(jobs.c.tenant == tenant)
    with db.snapshot() as tx:
        candidates = set(tx.execute(select(jobs.c.id).where(*old)).scalars())
        needed = _needed(tx, candidates)
        doomed = sorted(candidates - needed)
        surplus = _surplus(tx, needed, candidates - needed)
        found = _measured(tx, set(doomed), set(surplus))
    if dry_run:
        return found
    gone, of_jobs, files = 0, 0, 0
    for part in _parts(doomed):
        with db.begin() as tx:
            free = _free(tx, part, set(doomed), *old)
            of_jobs += _how_many(tx, checkpoints.c.job_id.in_(free))
            files += _how_many(tx, artifacts.c.job_id.in_(free))
            gone += tx.execute(delete(jobs).where(jobs.c.id.in_(free))).rowcount
    for part in _parts(surplus):
        with db.begin() as tx:
            of_jobs += tx.execute(delete(checkpoints).where(checkpoints.c.id.in_(_unused(tx, part, set())))).rowcount
    contents.collect_garbage(db)
    return Pruned(gone, of_jobs, files, found.bytes)


def _needed(tx: Connection, candidates: set[str]) -> set[str]:
    """Return those of the candidates that must stay."""
    newest = func.row_number().over(partition_by=jobs.c.model_id, order_by=jobs.c.ended_at.desc())
    succeeded = (
        select(jobs.c.id, newest.label("place"))
        .where(jobs.c.model_id.is_not(None), jobs.c.status == "succeeded", jobs.c.best_checkpoint.is_not(None))
        .subquery()
    )
    pinned = select(checkpoints.c.job_id).join(models, models.c.pinned_checkpoint == checkpoints.c.id)
    needed = set(tx.execute(union_all(select(succeeded.c.id).where(succeeded.c.place == 1), pinned)).scalars())
    needed &= candidates
    by_child = select(jobs.c.id, jobs.c.parent_id).where(jobs.c.parent_id.is_not(None))
    by_reader = select(inputs.c.job_id, checkpoints.c.job_id).join(
        checkpoints, checkpoints.c.id == inputs.c.checkpoint_id
    )
    made_for: defaultdict[str, set[str]] = defaultdict(set)
    for user, maker in tx.execute(union_all(by_child, by_reader)):
        if maker in candidates:
            if user not in candidates:
                needed.add(maker)
            made_for[user].add(maker)
    waiting = list(needed)
    while waiting:
        more = made_for[waiting.pop()] - needed
        needed |= more
        waiting += more
    return needed


def _surplus(tx: Connection, of_jobs: set[str], doomed: set[str]) -> list[str]:
    """Return the checkpoints of jobs that stay, but nobody needs."""
    found: list[str] = []
    for part in _parts(sorted(of_jobs)):
        query = (
            select(checkpoints.c.id)
            .join(jobs, jobs.c.id == checkpoints.c.job_id)
            .where(
                checkpoints.c.job_id.in_(part),
                checkpoints.c.id != func.coalesce(jobs.c.best_checkpoint, ""),
                checkpoints.c.id != func.coalesce(jobs.c.last_checkpoint, ""),
            )
        )
        found += _unused(tx, tx.execute(query).scalars().all(), doomed)
    return found


def _unused(tx: Connection, of: Sequence[str], doomed: set[str]) -> list[str]:
    """Return the checkpoints among these that no model pins and no job reads, unless that job is doomed too."""
    pinned = set(tx.execute(select(models.c.pinned_checkpoint).where(models.c.pinned_checkpoint.in_(of))).scalars())
    read = tx.execute(select(inputs.c.checkpoint_id, inputs.c.job_id).where(inputs.c.checkpoint_id.in_(of)))
    used = pinned | {checkpoint_id for checkpoint_id, job_id in read if job_id not in doomed}
    return [checkpoint_id for checkpoint_id in of if checkpoint_id not in used]


def _free(tx: Connection, part: Sequence[str], doomed: set[str], *old: ColumnElement[bool]) -> list[str]:
    """Lock jobs and their checkpoints, and return the jobs that may still be deleted.

    Since they were chosen one may have been retried, a checkpoint pinned, or a job submitted that reads one.
    """
    rows = select(jobs.c.id).where(jobs.c.id.in_(part), *old)
    free = set(tx.execute(rows.with_for_update()).scalars())
    of_jobs = select(checkpoints.c.id, checkpoints.c.job_id).where(checkpoints.c.job_id.in_(free))
    made_by = {row.id: row.job_id for row in tx.execute(of_jobs.with_for_update())}
    used = set(made_by) - set(_unused(tx, list(made_by), doomed))
    return sorted(free - {made_by[checkpoint_id] for checkpoint_id in used})


def _measured(tx: Connection, doomed: set[str], surplus: set[str]) -> Pruned:
    """Count what goes, and the bytes of contents that nothing else names."""
    sizes: dict[str, int] = {}
    kept: set[str] = set()
    count = {"checkpoints": 0, "artifacts": 0}
    of_checkpoints = select(checkpoints.c.job_id, checkpoints.c.id, checkpoints.c.weights_sha256)
    of_states = select(checkpoints.c.job_id, checkpoints.c.id, checkpoints.c.state_sha256)
    of_artifacts = select(artifacts.c.job_id, artifacts.c.name, artifacts.c.sha256)
    for kind, query in (("checkpoints", of_checkpoints), ("", of_states), ("artifacts", of_artifacts)):
        for job_id, name, sha256 in tx.execute(query, execution_options={"yield_per": 1000}):
            goes = job_id in doomed or (kind != "artifacts" and name in surplus)
            if goes and kind:
                count[kind] += 1
            if sha256 is not None:
                (sizes.setdefault(sha256, 0) if goes else kept.add(sha256))
    total = 0
    for part in _parts(sorted(sizes.keys() - kept)):
        total += tx.execute(select(func.sum(blobs.c.size)).where(blobs.c.sha256.in_(part))).scalar_one() or 0
    return Pruned(len(doomed), count["checkpoints"], count["artifacts"], int(total))


def _how_many(tx: Connection, where: ColumnElement[bool]) -> int:
    return int(tx.execute(select(func.count()).where(where)).scalar_one())


def _parts(of: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(of), AT_ONCE):
        yield of[begin : begin + AT_ONCE]
