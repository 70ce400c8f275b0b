"""Artifacts: written under the fence, replaced by name, withdrawn by a rewind, and collected only with their job."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import text

from store import artifacts, blobs, jobs, journal, leases
from store.artifacts import NewArtifact
from store.db import Database
from store.errors import LeaseLost, NotFound, TornBlob
from store.leases import Lease, Report
from tests.integration.store.factories import TENANT, checkpoint, claim, count, submit, take_over, train
from unroll.contract import Divergence


def make(lease: Lease, name: str, content: bytes, *, step: int | None = None, **more: object) -> None:
    leases.report(lease, Report(artifacts=[NewArtifact(name, "text/plain", content)], step=step, **more))


def diverged(replica: int, step: int) -> dict[str, object]:
    return Divergence(replica=replica, step=step, loss=None, gradient_norm=None).model_dump(mode="json")


def contents(db: Database, job_id: str) -> dict[str, bytes]:
    found = artifacts.list_of_job(db, TENANT, job_id)
    return {one.name: artifacts.content(db, TENANT, job_id, one.name, one.sha256) for one in found}


def test_what_a_job_made_comes_back_by_name_with_its_hash_and_is_told_in_the_journal(db: Database):
    job = submit(db)
    lease = claim(db)
    large = bytes(range(256)) * 10_000
    make(lease, "b.txt", large)
    make(lease, "a_b-c.0.txt", b"")
    for name in ("a/with slash.txt", 'a"quote', "ä", "", "a" * 101):
        with pytest.raises(ValueError, match="an artifact's name"):
            NewArtifact(name, "text/plain", b"")
    assert contents(db, job.id) == {"a_b-c.0.txt": b"", "b.txt": large}
    found = artifacts.get(db, TENANT, job.id, "b.txt")
    about = {
        "name": "b.txt",
        "media_type": "text/plain",
        "size": len(large),
        "sha256": hashlib.sha256(large).hexdigest(),
    }
    assert found.model_dump(exclude={"created_at"}) == about
    told = [event.data for event in journal.read(db, TENANT, job.id)[0] if event.type == "artifact"]
    assert told[0] == about


def test_one_of_the_same_name_replaces_it_and_the_old_content_is_not_handed_out_for_it(db: Database):
    job = submit(db)
    lease = claim(db)
    make(lease, "a.txt", b"first")
    old = artifacts.get(db, TENANT, job.id, "a.txt").sha256
    make(lease, "a.txt", b"second")
    assert contents(db, job.id) == {"a.txt": b"second"}
    with pytest.raises(NotFound):
        artifacts.content(db, TENANT, job.id, "a.txt", old)
    assert blobs.collect_garbage(db) == 1
    assert contents(db, job.id) == {"a.txt": b"second"}


def test_garbage_collection_spares_artifacts_and_takes_them_once_their_job_is_deleted(db: Database):
    first, second = submit(db), submit(db)
    for job in (first, second):
        lease = claim(db)
        assert lease.job_id == job.id
        make(lease, "shared.txt", b"shared")
        make(lease, "own.txt", job.id.encode())
        leases.end(lease, "succeeded")
    assert blobs.collect_garbage(db) == 0
    assert contents(db, first.id) == {"shared.txt": b"shared", "own.txt": first.id.encode()}
    jobs.remove(db, TENANT, first.id)
    assert blobs.collect_garbage(db) == 1
    assert contents(db, second.id) == {"shared.txt": b"shared", "own.txt": second.id.encode()}
    jobs.remove(db, TENANT, second.id)
    assert blobs.collect_garbage(db) == 2
    assert count(db, "artifacts") == count(db, "blobs") == count(db, "blob_chunks") == 0


def test_content_that_is_both_weights_and_an_artifact_stays_for_either(db: Database):
    saver, maker = submit(db), submit(db)
    for _ in range(2):
        lease = claim(db)
        if lease.job_id == saver.id:
            leases.report(lease, Report(checkpoint=checkpoint(1, weights=b"same", state=b"same"), step=1))
        else:
            make(lease, "a.txt", b"same")
        leases.end(lease, "succeeded")
    jobs.remove(db, TENANT, saver.id)
    assert blobs.collect_garbage(db) == 0
    assert contents(db, maker.id) == {"a.txt": b"same"}


def test_a_zombie_replaces_nothing(db: Database):
    job = submit(db)
    zombie = claim(db)
    make(zombie, "a.txt", b"by the zombie")
    lease = take_over(db, zombie)
    make(lease, "a.txt", b"by its successor")
    with pytest.raises(LeaseLost):
        make(zombie, "a.txt", b"too late")
    assert contents(db, job.id) == {"a.txt": b"by its successor"}
    assert blobs.collect_garbage(db) == 1  # what the zombie made in time; what came too late was never stored
    assert count(db, "blobs") == 1


def test_a_rewind_takes_back_artifacts_and_the_summary_to_what_they_were_at_the_checkpoint(db: Database):
    job = submit(db)
    lease = claim(db)
    early, late = diverged(0, 7), diverged(1, 17)
    make(lease, "early.txt", b"early", step=8)
    train(lease, 1, 10)
    leases.report(lease, Report(checkpoint=checkpoint(10), step=10, collected=[("diverged", early)]))
    make(lease, "late.txt", b"late", step=17, collected=[("diverged", late)], summary={"stopped": "max_seconds"})
    assert [one.step for one in jobs.get(db, TENANT, job.id).summary.diverged] == [7, 17]
    take_over(db, lease)
    assert contents(db, job.id) == {"early.txt": b"early"}
    summary = jobs.get(db, TENANT, job.id).summary
    assert ([one.step for one in summary.diverged], summary.stopped) == ([7], None)
    rewinds = [event.data["to_step"] for event in journal.read(db, TENANT, job.id)[0] if event.type == "rewind"]
    assert rewinds == [10]


def test_a_torn_checkpoint_takes_the_summary_back_further(db: Database):
    job = submit(db)
    lease = claim(db)
    for step in (10, 20):
        said = [("diverged", diverged(step // 10, step))]
        leases.report(lease, Report(checkpoint=checkpoint(step), step=step, collected=said))
    with db.begin() as tx:
        torn = hashlib.sha256(b"state at 20").hexdigest()
        tx.execute(text("DELETE FROM blob_chunks WHERE sha256 = :torn"), {"torn": torn})
    lease = take_over(db, lease)
    assert len(jobs.get(db, TENANT, job.id).summary.diverged) == 2
    assert leases.resume_point(lease).step == 10
    assert [one.step for one in jobs.get(db, TENANT, job.id).summary.diverged] == [10]


def test_what_was_said_at_the_very_step_of_a_checkpoint_but_behind_it_is_taken_back(db: Database):
    """The end of a job was written, and then its worker died before the job came to that end."""
    job = submit(db)
    lease = claim(db)
    train(lease, 1, 10, checkpointed=True)
    leases.report(lease, Report(summary={"stopped": "max_seconds"}))
    lease = take_over(db, lease)
    assert jobs.get(db, TENANT, job.id).summary.stopped is None
    leases.end(lease, "succeeded")
    assert jobs.get(db, TENANT, job.id).summary.stopped is None


def test_a_job_without_checkpoints_begins_anew_with_nothing_even_of_before_its_first_step(db: Database):
    job = submit(db)
    lease = claim(db)
    make(lease, "a.txt", b"a", summary={"stopped": "max_seconds"})
    assert jobs.get(db, TENANT, job.id).progress.step == 0
    take_over(db, lease)
    assert contents(db, job.id) == {}
    assert jobs.get(db, TENANT, job.id).summary.stopped is None


def test_a_pause_at_a_checkpoint_takes_nothing_back(db: Database):
    job = submit(db)
    lease = claim(db)
    make(lease, "a.txt", b"a", step=5)
    leases.report(lease, Report(checkpoint=checkpoint(5), step=5, collected=[("diverged", diverged(0, 5))]))
    jobs.pause(db, TENANT, job.id)
    leases.give_back(lease, drained=False)
    jobs.resume(db, TENANT, job.id)
    before = jobs.get(db, TENANT, job.id).summary
    claim(db)
    assert contents(db, job.id) == {"a.txt": b"a"}
    assert jobs.get(db, TENANT, job.id).summary == before
    assert "rewind" not in [event.type for event in journal.read(db, TENANT, job.id)[0]]


def test_a_report_that_is_repeated_doubles_neither_artifacts_nor_what_is_collected(db: Database):
    job = submit(db)
    lease = claim(db)
    one, other = diverged(0, 1), diverged(1, 1)
    reports = [
        Report(entries=[("replica_diverged", one)], collected=[("diverged", one)], step=1),
        Report(entries=[("replica_diverged", other)], collected=[("diverged", other)], step=1),
        Report(artifacts=[NewArtifact("a.txt", "text/plain", b"a")], step=1),
        Report(artifacts=[NewArtifact("a.txt", "text/plain", b"b")], step=1, collected=[("stopped_replicas", {
            "replica": 0, "step": 1, "reason": "skill_reached", "loss": None})]),
    ]  # fmt: skip
    for report in reports:
        leases.report(lease, report)
        leases.report(lease, report, again=True)
    summary = jobs.get(db, TENANT, job.id).summary
    assert ([stop.replica for stop in summary.stopped_replicas], len(summary.diverged)) == ([0], 2)
    kinds = [event.type for event in journal.read(db, TENANT, job.id)[0]]
    assert kinds[2:] == ["replica_diverged", "replica_diverged", "artifact", "artifact"]
    assert contents(db, job.id) == {"a.txt": b"b"}


def test_a_repeated_report_is_written_where_the_first_try_was_not(db: Database):
    job = submit(db)
    lease = claim(db)
    make(lease, "a.txt", b"first", step=1)
    second = Report(
        artifacts=[NewArtifact("a.txt", "text/plain", b"second")], step=1, summary={"stopped": "max_seconds"}
    )
    leases.report(lease, second, again=True)
    assert contents(db, job.id) == {"a.txt": b"second"}
    collected = Report(collected=[("diverged", diverged(0, 1))])
    leases.report(lease, collected, again=True)
    assert len(jobs.get(db, TENANT, job.id).summary.diverged) == 1


def test_damaged_content_is_not_handed_out(db: Database):
    job = submit(db)
    make(claim(db), "a.txt", b"good")
    with db.begin() as tx:
        tx.execute(text("DELETE FROM blob_chunks"))
    found = artifacts.get(db, TENANT, job.id, "a.txt")
    with pytest.raises(TornBlob):
        artifacts.content(db, TENANT, job.id, "a.txt", found.sha256)


def test_an_unknown_artifact_is_not_found(db: Database):
    job = submit(db)
    assert artifacts.list_of_job(db, TENANT, job.id) == []
    with pytest.raises(NotFound):
        artifacts.get(db, TENANT, job.id, "a.txt")
    with pytest.raises(NotFound):
        artifacts.list_of_job(db, TENANT, "job_unknown")
