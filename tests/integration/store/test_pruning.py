"""Pruning deletes what is old and needed by nobody, says how much that is, and leaves everything else."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from store import blobs, checkpoints, jobs, leases, models, pruning
from store.artifacts import NewArtifact
from store.db import Database
from store.leases import Report
from store.pruning import Pruned, prune
from tests.integration.store.factories import (
    KEY,
    NETWORK,
    TENANT,
    checkpoint,
    claim,
    count,
    new_job,
    submit,
    submit_reader,
)
from unroll.contract import NewModel, Serving

DAY = 86_400.0
SIZE = len("weights at 10") + len("state at 10")


def ended(
    db: Database, *, status: str = "succeeded", tenant: str = TENANT, steps: tuple[int, ...] = (10,), **fields: object
) -> str:
    """A job that ended long ago, with checkpoints; its id."""
    job = jobs.submit(db, tenant, KEY, new_job(**fields))[0].id  # type: ignore[arg-type]
    lease = claim(db)
    assert lease.job_id == job
    for step in steps:
        weights = f"weights of {job} at {step}".encode()
        leases.report(lease, Report(checkpoint=checkpoint(step, weights=weights, losses=(1 / step,)), step=step))
    leases.end(lease, status)
    age(db, job)
    return job


def age(db: Database, job: str, days: float = 40) -> None:
    with db.begin() as tx:
        tx.execute(text("UPDATE jobs SET ended_at = ended_at - :age WHERE id = :id"), {"age": days * DAY, "id": job})


def last(db: Database, job: str) -> str:
    return checkpoints.list_of_job(db, TENANT, job).data[0].id


def left(db: Database) -> set[str]:
    with db.read() as tx:
        return set(tx.execute(text("SELECT id FROM jobs")).scalars())


def test_old_jobs_go_with_all_that_is_theirs_and_young_and_unfinished_ones_stay(db: Database):
    old = [ended(db), ended(db, status="failed")]
    young = ended(db)
    age(db, young, -20)
    queued = submit(db).id
    running = claim(db).job_id
    assert running == queued
    waiting = submit(db).id
    stored = count(db, "blobs")
    found = prune(db, 30 * DAY, dry_run=True)
    assert left(db) == {*old, young, running, waiting}
    assert count(db, "blobs") == stored
    assert prune(db, 30 * DAY) == found
    assert (found.jobs, found.checkpoints, found.artifacts) == (2, 2, 0)
    assert left(db) == {young, running, waiting}
    assert count(db, "checkpoints") == 1
    assert count(db, "blobs") == stored - 2  # the weights; their states are alike, and the young job's
    assert prune(db, 30 * DAY) == Pruned(0, 0, 0, 0)


def test_the_bytes_it_names_are_those_that_go(db: Database):
    submit(db)
    lease = claim(db)
    shared, own = b"x" * 1000, b"y" * 3_000_000
    leases.report(lease, Report(artifacts=[NewArtifact("a", "a/b", shared), NewArtifact("b", "a/b", own)]))
    leases.end(lease, "succeeded")
    age(db, lease.job_id)
    submit(db)
    keeper = claim(db)
    leases.report(keeper, Report(artifacts=[NewArtifact("a", "a/b", shared)]))
    assert prune(db, 30 * DAY) == Pruned(jobs=1, checkpoints=0, artifacts=2, bytes=3_000_000)
    assert count(db, "blobs") == 1
    assert blobs.collect_garbage(db) == 0


def test_what_a_model_serves_stays_whether_pinned_or_by_default(db: Database):
    for name in ("pinned", "default"):
        models.register(db, TENANT, NewModel(name=name, config=NETWORK), 19)
    of = {name: models.resolve(db, TENANT, name)[0] for name in ("pinned", "default")}
    pinned = ended(db, model_id=of["pinned"], model_name="pinned", steps=(10, 20, 30))
    first = [one.id for one in checkpoints.list_of_job(db, TENANT, pinned).data][-1]
    models.pin(db, TENANT, "pinned", Serving(checkpoint=first, replica=0))
    later = ended(db, model_id=of["pinned"], model_name="pinned")  # what it would serve without the pin
    older = ended(db, model_id=of["default"], model_name="default")
    newest = ended(db, model_id=of["default"], model_name="default")
    failed = ended(db, model_id=of["default"], model_name="default", status="failed")
    found = prune(db, 30 * DAY)
    assert left(db) == {pinned, later, newest}
    assert {older, failed}.isdisjoint(left(db))
    # of the pinned job, what is neither pinned nor its best and last one went
    assert [one.step for one in checkpoints.list_of_job(db, TENANT, pinned).data] == [30, 10]
    assert (found.jobs, found.checkpoints) == (2, 3)
    assert models.served(db, TENANT, "pinned").checkpoint == first
    assert models.served(db, TENANT, "default").checkpoint == last(db, newest)


def test_what_a_job_that_stays_reads_or_comes_from_stays_and_goes_with_it(db: Database):
    grandparent = ended(db)
    parent = ended(db, parent=grandparent)
    reader = submit_reader(db, last(db, parent)).id
    prune(db, 30 * DAY)
    assert left(db) == {grandparent, parent, reader}
    lease = claim(db)
    leases.end(lease, "failed")
    prune(db, 30 * DAY)  # it is young, and may be retried
    assert left(db) == {grandparent, parent, reader}
    age(db, reader)
    assert prune(db, 30 * DAY).jobs == 3
    assert left(db) == set()


def test_only_the_named_tenants_jobs_go(db: Database):
    ours, theirs = ended(db), ended(db, tenant="theirs")
    prune(db, 30 * DAY, tenant="theirs")
    assert left(db) == {ours}
    assert theirs not in left(db)


def test_what_is_retried_pinned_or_read_after_it_was_chosen_stays(db: Database, monkeypatch: pytest.MonkeyPatch):
    retried = ended(db, status="failed")
    read = ended(db)
    made = last(db, read)
    chosen = pruning._measured

    def then_wanted(*arguments: object) -> Pruned:
        found = chosen(*arguments)  # type: ignore[arg-type]
        wanted.append(found)
        return found

    wanted: list[Pruned] = []
    monkeypatch.setattr(pruning, "_measured", then_wanted)
    begin = db.begin

    def late(**options: object) -> object:
        if wanted and wanted.pop():
            monkeypatch.setattr(db, "begin", begin)
            jobs.retry(db, TENANT, retried)
            submit_reader(db, made)
        return begin(**options)  # type: ignore[arg-type]

    monkeypatch.setattr(db, "begin", late)
    assert prune(db, 30 * DAY).jobs == 0
    assert {retried, read} <= left(db)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_file_can_be_made_smaller(db: Database):
    submit(db)
    lease = claim(db)
    leases.report(lease, Report(artifacts=[NewArtifact("a", "a/b", bytes(range(256)) * 20_000)]))
    leases.end(lease, "succeeded")
    age(db, lease.job_id)
    db.shrink()
    prune(db, 30 * DAY)
    returned = db.shrink()
    assert returned is not None
    assert returned > 5_000_000
