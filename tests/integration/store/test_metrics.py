"""Curves as they were measured: every step once, also after crashes and torn checkpoints."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sqlalchemy import select, update

from store import checkpoints, jobs, journal, leases, metrics
from store.db import Database
from store.errors import InvalidRequest, NotFound
from store.leases import Lease, Report
from store.metrics import Block
from store.tables import blob_chunks
from store.tables import checkpoints as checkpoint_rows
from tests.integration.store.factories import TENANT, block, checkpoint, claim, submit, take_over, train


def steps(db: Database, job_id: str) -> list[int]:
    found = metrics.read(db, TENANT, job_id)
    return found.series[0].steps if found.series else []


def test_what_was_written_is_read_back_exactly(db: Database):
    job = submit(db, replicas=2)
    lease = claim(db)
    values = np.array([[[0.1, math.pi], [1e-300, -0.0]], [[math.nan, math.inf], [1 / 3, 5e-324]]])
    leases.report(lease, Report(blocks=[Block(("loss", "gradient_norm"), np.array([5, 10]), values)]))
    found = metrics.read(db, TENANT, job.id)
    assert [(one.name, one.replica) for one in found.series] == [
        ("loss", 0), ("loss", 1), ("gradient_norm", 0), ("gradient_norm", 1),
    ]  # fmt: skip
    assert [one.values for one in found.series] == [[0.1, None], [math.pi, None], [1e-300, 1 / 3], [-0.0, 5e-324]]
    assert all(one.steps == [5, 10] for one in found.series)
    assert (found.last_step, found.downsampled) == (10, False)


def test_a_job_without_metrics_has_empty_ones(db: Database):
    job = submit(db)
    assert metrics.read(db, TENANT, job.id).model_dump() == {
        "job": job.id,
        "last_step": 0,
        "downsampled": False,
        "series": [],
        "next": None,
    }
    assert list(metrics.stream(db, TENANT, job.id)) == []


def test_names_and_steps_select(db: Database):
    job = submit(db)
    lease = claim(db)
    for first in range(1, 100, 20):
        train(lease, first, first + 19)
    found = metrics.read(db, TENANT, job.id, names=["gradient_norm"], from_step=35)
    assert [one.name for one in found.series] == ["gradient_norm"]
    assert found.series[0].steps == list(range(35, 101))
    assert found.series[0].values == [-float(step) for step in range(35, 101)]
    thinned = metrics.read(db, TENANT, job.id, max_points=10)
    assert thinned.downsampled
    assert all(len(one.steps) <= 10 and one.steps[0] == 1 and one.steps[-1] == 100 for one in thinned.series)
    with pytest.raises(InvalidRequest, match="loss, gradient_norm") as refusal:
        metrics.read(db, TENANT, job.id, names=["accuracy"])
    assert refusal.value.pointer == "?names"


def test_a_long_job_is_read_in_pages_that_hold_every_step_once(db: Database, monkeypatch: pytest.MonkeyPatch):
    job = submit(db, replicas=3)
    lease = claim(db)
    for first in range(1, 200, 20):
        leases.report(lease, Report(blocks=[block(first, first + 19, replicas=3)], step=first + 19))
    whole = metrics.read(db, TENANT, job.id)
    assert (whole.next, len(whole.series)) == (None, 6)
    for most in (6 * 200, 6 * 199, 6 * 20, 6 * 7 + 5, 1):
        monkeypatch.setattr(metrics, "MAX_VALUES", most)
        pages = [metrics.read(db, TENANT, job.id)]
        while pages[-1].next is not None:
            pages.append(metrics.read(db, TENANT, job.id, from_step=pages[-1].next))
        assert all(sum(len(one.values) for one in page.series) <= max(most, 6) for page in pages)
        assert len(pages) == -(-200 // max(most // 6, 1))
        for number, one in enumerate(whole.series):
            assert [step for page in pages for step in page.series[number].steps] == one.steps
            assert [value for page in pages for value in page.series[number].values] == one.values


def test_thinned_series_that_would_be_too_large_are_refused_with_the_numbers(
    db: Database, monkeypatch: pytest.MonkeyPatch
):
    job = submit(db, replicas=3)
    leases.report(claim(db), Report(blocks=[block(1, 100, replicas=3)], step=100))
    monkeypatch.setattr(metrics, "MAX_VALUES", 100)
    with pytest.raises(InvalidRequest, match="6 series of 20 points are 120 values, more than 100: at most 16") as no:
        metrics.read(db, TENANT, job.id, max_points=20)
    assert no.value.pointer == "?max_points"
    assert metrics.read(db, TENANT, job.id, max_points=16).downsampled
    assert metrics.read(db, TENANT, job.id, max_points=20, names=["loss"]).downsampled
    few = metrics.read(db, TENANT, job.id, max_points=1_000_000, from_step=90)  # there are only eleven
    assert (few.downsampled, few.series[0].steps) == (False, list(range(90, 101)))


def test_a_stream_holds_every_point_and_goes_on_behind_a_crash(db: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "_PIECE_BYTES", 400)
    job = submit(db)
    lease = claim(db)
    for first in range(1, 200, 20):
        train(lease, first, first + 19, checkpointed=first == 101)
    streamed = metrics.stream(db, TENANT, job.id, from_step=15, names=["gradient_norm"])
    found = [next(streamed) for _ in range(3)]
    lease = crash_and_claim(db, lease)  # what came after step 120 is withdrawn, and computed again
    train(lease, 121, 170)
    found += streamed
    assert np.concatenate([one.steps for one in found]).tolist() == list(range(15, 171))
    assert all(one.names == ("gradient_norm",) for one in found)
    assert np.concatenate([one.values for one in found]).ravel().tolist() == [-float(n) for n in range(15, 171)]


def test_a_stream_of_a_job_that_is_deleted_meanwhile_does_not_look_whole(db: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "_PIECE_BYTES", 1)
    job = submit(db)
    lease = claim(db)
    train(lease, 1, 20)
    train(lease, 21, 40)
    leases.end(lease, "cancelled")
    streamed = metrics.stream(db, TENANT, job.id)
    next(streamed)
    jobs.remove(db, TENANT, job.id)
    with pytest.raises(NotFound):
        list(streamed)


def test_a_stream_refuses_before_its_first_block(db: Database):
    job = submit(db)
    train(claim(db), 1, 20)
    with pytest.raises(InvalidRequest):
        metrics.stream(db, TENANT, job.id, names=["accuracy"])
    with pytest.raises(NotFound):
        metrics.stream(db, "another tenant", job.id)


def crash_and_claim(db: Database, lease: Lease) -> Lease:
    return take_over(db, lease)


def test_after_a_crash_the_curve_goes_on_without_a_double_or_a_gap(db: Database):
    job = submit(db)
    lease = claim(db)
    train(lease, 1, 100, checkpointed=True)
    train(lease, 101, 130)
    train(lease, 131, 160)
    lease = crash_and_claim(db, lease)
    assert steps(db, job.id) == list(range(1, 101))
    assert jobs.get(db, TENANT, job.id).progress.step == 100
    point = leases.resume_point(lease)
    assert (point.step, point.weights, point.state) == (100, b"weights at 100", b"state at 100")
    train(lease, 101, 200, checkpointed=True)
    assert steps(db, job.id) == list(range(1, 201))


def test_a_crash_before_the_first_checkpoint_starts_anew(db: Database):
    job = submit(db)
    lease = claim(db)
    train(lease, 1, 30)
    lease = crash_and_claim(db, lease)
    assert leases.resume_point(lease) is None
    assert steps(db, job.id) == []
    train(lease, 1, 50)
    assert steps(db, job.id) == list(range(1, 51))


def tear(db: Database, checkpoint_id: str, part: str, how: str) -> None:
    """Damage the stored bytes of a checkpoint behind the store's back."""
    with db.begin() as tx:
        row = tx.execute(select(checkpoint_rows).where(checkpoint_rows.c.id == checkpoint_id)).one()
        digest = getattr(row, f"{part}_sha256")
        if how == "missing":
            tx.execute(blob_chunks.delete().where(blob_chunks.c.sha256 == digest))
        else:
            data = tx.execute(select(blob_chunks.c.data).where(blob_chunks.c.sha256 == digest)).scalar_one()
            damaged = data[:-1] if how == "truncated" else bytes([data[0] ^ 1]) + data[1:]
            tx.execute(update(blob_chunks).where(blob_chunks.c.sha256 == digest).values(data=damaged))


@pytest.mark.parametrize("part", ["weights", "state"])
@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
def test_a_torn_checkpoint_falls_back_to_the_one_before_it(db: Database, part: str, how: str):
    job = submit(db)
    lease = claim(db)
    for first in (1, 101, 201):
        leases.report(
            lease,
            Report(
                blocks=[block(first, first + 99)],
                checkpoint=checkpoint(first + 99, losses=(1.0 / first,)),
                step=first + 99,
            ),
        )
    train(lease, 301, 350)
    before = jobs.get(db, TENANT, job.id)
    tear(db, before.summary.last_checkpoint, part, how)
    lease = crash_and_claim(db, lease)
    assert steps(db, job.id) == list(range(1, 301))  # the damage is found where the bytes are read
    point = leases.resume_point(lease)
    assert (point.step, point.state) == (200, b"state at 200")
    found = jobs.get(db, TENANT, job.id)
    assert steps(db, job.id) == list(range(1, 201))
    assert found.progress.step == 200
    assert found.summary.last_checkpoint == point.checkpoint_id == found.summary.best.checkpoint
    assert found.summary.best.loss == 1.0 / 101
    assert [one.step for one in checkpoints.list_of_job(db, TENANT, job.id).data] == [200, 100]
    assert journal.read(db, TENANT, job.id)[0][-1].data == {"to_step": 200, "attempt": 2}
    train(lease, 201, 300, checkpointed=True)
    assert steps(db, job.id) == list(range(1, 301))


def test_where_every_checkpoint_is_torn_training_starts_anew(db: Database):
    job = submit(db)
    lease = claim(db)
    for first in (1, 101, 201):
        train(lease, first, first + 99, checkpointed=True)
    for one in checkpoints.list_of_job(db, TENANT, job.id).data:
        if one.resumable:
            tear(db, one.id, "state", "flipped")
    lease = crash_and_claim(db, lease)
    assert leases.resume_point(lease) is None
    found = jobs.get(db, TENANT, job.id)
    assert (found.progress.step, found.summary.last_checkpoint, found.summary.best) == (0, None, None)
    assert steps(db, job.id) == []
    assert checkpoints.list_of_job(db, TENANT, job.id).data == []
    train(lease, 1, 100, checkpointed=True)
    assert jobs.get(db, TENANT, job.id).summary.last_checkpoint is not None


def test_a_rewind_keeps_the_journal(db: Database):
    job = submit(db)
    lease = claim(db)
    train(lease, 1, 10)
    before, _ = journal.read(db, TENANT, job.id)
    crash_and_claim(db, lease)
    after, _ = journal.read(db, TENANT, job.id)
    assert after[: len(before)] == before
