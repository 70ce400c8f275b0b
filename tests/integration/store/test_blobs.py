"""Checkpoints share equal content, and what none needs is collected, never what one needs."""

from __future__ import annotations

import hashlib
import threading

import pytest
from sqlalchemy import select, update

from store import blobs, checkpoints, jobs, leases
from store.blobs import CHUNK_BYTES
from store.db import Database
from store.errors import NotFound, TornBlob
from store.leases import Report
from store.tables import blob_chunks
from store.tables import blobs as blob_rows
from tests.integration.store.factories import TENANT, at_once, checkpoint, claim, count, submit, train


def save(db: Database, step: int, *, weights: bytes, state: bytes) -> str:
    lease = claim(db)
    leases.report(lease, Report(checkpoint=checkpoint(step, weights=weights, state=state), step=step))
    leases.end(lease, "succeeded")
    return lease.job_id


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7])
def test_content_of_any_size_comes_back_under_its_hash(db: Database, size: int):
    job = submit(db)
    weights = bytes(i * 31 % 251 for i in range(1000)) * (size // 1000 + 1)
    save(db, 5, weights=weights[:size], state=b"s")
    found = checkpoints.list_of_job(db, TENANT, job.id).data[0]
    assert (found.size, found.sha256) == (size, hashlib.sha256(weights[:size]).hexdigest())
    assert checkpoints.content(db, TENANT, found.id) == (found.sha256, weights[:size])


def test_equal_content_is_stored_once(db: Database):
    for _ in range(3):
        submit(db)
        save(db, 5, weights=b"w" * 3_000_000, state=b"s")
    assert count(db, "blobs") == 2
    assert count(db, "blob_chunks") == 3 + 1


def test_garbage_is_found_piece_by_piece(db: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blobs, "SWEPT", 3)
    with db.begin() as tx:
        names = sorted(blobs.put(tx, b"%d" % number) for number in range(8))
    submit(db)
    save(db, 5, weights=b"0", state=b"7")
    kept = {blobs.digest(b"0"), blobs.digest(b"7")}
    after, left = "", set(names)
    for piece in (names[:3], names[3:6], names[6:]):
        deleted, after = blobs.sweep(db, after)
        assert (deleted, after) == (len(set(piece) - kept), piece[-1] if len(piece) == 3 else "")
        left -= set(piece) - kept
        assert count(db, "blobs") == len(left)
    assert left == kept
    assert blobs.collect_garbage(db) == 0


def test_resume_state_is_kept_for_the_latest_two_checkpoints_and_weights_for_more(db: Database):
    job = submit(db)
    lease = claim(db)
    for step in (10, 20, 30, 40):
        train(lease, step - 9, step, checkpointed=True)
    found = checkpoints.list_of_job(db, TENANT, job.id).data
    assert [(one.step, one.resumable) for one in found] == [(40, True), (30, True), (20, False), (10, False)]
    assert count(db, "blobs") == 8
    assert blobs.collect_garbage(db) == 2
    assert blobs.collect_garbage(db) == 0
    for one in found:
        assert checkpoints.content(db, TENANT, one.id)[1] == b"weights at %d" % one.step
    assert leases.resume_point(lease).state == b"state at 40"


def test_deleting_a_job_frees_its_blobs_but_none_that_another_job_needs(db: Database):
    first = submit(db)
    save(db, 5, weights=b"shared", state=b"one")
    second = submit(db)
    save(db, 5, weights=b"shared", state=b"two")
    jobs.remove(db, TENANT, first.id)
    assert blobs.collect_garbage(db) == 1
    kept = checkpoints.list_of_job(db, TENANT, second.id).data[0]
    assert checkpoints.content(db, TENANT, kept.id)[1] == b"shared"
    jobs.remove(db, TENANT, second.id)
    assert blobs.collect_garbage(db) == 2
    assert count(db, "blobs") == count(db, "blob_chunks") == 0


def test_damaged_content_is_not_handed_out(db: Database):
    job = submit(db)
    save(db, 5, weights=b"good weights", state=b"s")
    found = checkpoints.list_of_job(db, TENANT, job.id).data[0]
    with db.begin() as tx:
        tx.execute(update(blob_chunks).values(data=b"bad weights!"))
    with pytest.raises(TornBlob):
        checkpoints.content(db, TENANT, found.id)


def test_content_taken_up_again_while_garbage_is_collected_is_never_lost(db: Database):
    """Writers file content that is garbage at that moment, while collectors run without a pause."""
    over = threading.Event()
    rounds = 15
    for _ in range(2):
        submit(db)
    worker_leases = [claim(db, f"w{i}") for i in range(2)]

    def collect() -> int:
        collected = 0
        while not over.is_set():
            collected += blobs.collect_garbage(db)
        return collected

    def write(number: int) -> None:
        lease = worker_leases[number]
        try:
            for step in range(1, rounds + 1):
                # the same content as the other writer's, needed by nobody once both rows are gone
                new = checkpoint(step, weights=b"w%d" % step, state=b"s%d" % step)
                leases.report(lease, Report(checkpoint=new, step=step))
                found = checkpoints.list_of_job(db, TENANT, lease.job_id).data[0]
                assert checkpoints.content(db, TENANT, found.id)[1] == b"w%d" % step
                assert leases.resume_point(lease).state == b"s%d" % step
                with db.begin() as tx:
                    checkpoints.withdraw(tx, lease.job_id, 0)
        finally:
            if number == 0:
                over.set()

    answers = at_once([lambda: write(0), lambda: write(1), collect, collect])
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    blobs.collect_garbage(db)
    assert count(db, "blobs") == 0


def test_a_blob_held_by_a_writer_is_left_for_the_next_time(db: Database):
    job = submit(db)
    save(db, 5, weights=b"again", state=b"s")
    jobs.remove(db, TENANT, job.id)
    submit(db)
    lease = claim(db)
    if db.dialect == "sqlite":
        # one writer at a time: the collector comes before or after, there is no meanwhile
        leases.report(lease, Report(checkpoint=checkpoint(5, weights=b"again", state=b"s")))
        assert blobs.collect_garbage(db) == 0
        return
    with leases.fenced(lease) as (tx, _row):
        checkpoints.write(tx, TENANT, lease.job_id, 1, checkpoint(5, weights=b"again", state=b"other"), {})
        assert blobs.collect_garbage(db) == 1  # the old state; at once, without waiting for the writer
    with db.read() as tx:
        assert len(tx.execute(select(blob_rows)).all()) == 2
    assert leases.resume_point(lease).weights == b"again"


def test_an_unknown_checkpoint_is_not_found(db: Database):
    for ask in (checkpoints.get, checkpoints.content, checkpoints.list_of_job):
        with pytest.raises(NotFound):
            ask(db, TENANT, "ckpt_unknown")
