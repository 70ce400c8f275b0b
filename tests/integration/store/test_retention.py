"""Which checkpoints a job keeps: the newest, the best, what can be gone back to, and what a model serves."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from store import blobs, checkpoints, jobs, leases, models
from store.db import Database
from store.errors import InvalidRequest, NotFound
from store.leases import Lease, Report
from store.tables import blob_chunks
from store.tables import checkpoints as rows
from tests.integration.store.factories import (
    KEY,
    NETWORK,
    TENANT,
    at_once,
    checkpoint,
    claim,
    count,
    new,
    take_over,
    train_job,
)  # fmt: skip
from unroll.contract import NewModel, Serving


def begun(db: Database, keep: int | None) -> Lease:
    """A running job of `integrator` that keeps so many."""
    models.register(db, TENANT, NewModel(name="integrator", config=NETWORK), 19)
    model_id, _ = models.resolve(db, TENANT, "integrator")
    config = train_job(steps=100_000)
    config = config.model_copy(update={"training": config.training.model_copy(update={"keep_checkpoints": keep})})
    jobs.submit(db, TENANT, KEY, new(config, total=100_000, model_id=model_id, model_name="integrator"))
    return claim(db)


def save(lease: Lease, step: int, loss: float | None = None) -> None:
    saved = checkpoint(step, losses=None if loss is None else (loss,), keep=lease.config.training.keep_checkpoints)
    leases.report(lease, Report(checkpoint=saved, step=step))


def kept(db: Database, lease: Lease) -> list[int]:
    page = checkpoints.list_of_job(db, TENANT, lease.job_id, limit=100)
    return [one.step for one in reversed(page.data)]


def id_of(db: Database, lease: Lease, step: int) -> str:
    return next(one.id for one in checkpoints.list_of_job(db, TENANT, lease.job_id).data if one.step == step)


def test_the_newest_and_the_best_are_kept_and_the_blobs_of_others_collected(db: Database):
    lease = begun(db, 3)
    for step, loss in ((10, 0.9), (20, 0.1), (30, 0.5), (40, None), (50, 0.3), (60, 0.2)):
        save(lease, step, loss)
    assert kept(db, lease) == [20, 40, 50, 60]
    found = jobs.get(db, TENANT, lease.job_id).summary
    assert (found.best.checkpoint, found.last_checkpoint) == (id_of(db, lease, 20), id_of(db, lease, 60))
    blobs.collect_garbage(db)
    assert count(db, "blobs") == 4 + 2  # weights, and the states of the latest two
    assert checkpoints.content(db, TENANT, found.best.checkpoint)[1] == b"weights at 20"


def test_twenty_are_kept_unless_the_job_says_otherwise_and_null_keeps_all(db: Database):
    usual, all_of_them = begun(db, train_job().training.keep_checkpoints), begun(db, None)
    for lease in (usual, all_of_them):
        for step in range(1, 31):
            save(lease, step)
    assert kept(db, usual) == list(range(11, 31))
    assert kept(db, all_of_them) == list(range(1, 31))


def test_with_one_to_keep_both_that_training_can_go_back_to_stay(db: Database):
    lease = begun(db, 1)
    for step in (10, 20, 30):
        save(lease, step)
    assert kept(db, lease) == [20, 30]
    with db.begin() as tx:
        newest = tx.execute(update(rows).where(rows.c.step == 30).values(step=30).returning(rows)).one()
        tx.execute(update(blob_chunks).where(blob_chunks.c.sha256 == newest.state_sha256).values(data=b"torn"))
    lease = take_over(db, lease)
    assert leases.resume_point(lease).state == b"state at 20"
    assert kept(db, lease) == [20]
    save(lease, 30)
    save(lease, 40)
    assert kept(db, lease) == [30, 40]


def test_what_was_best_at_a_checkpoint_that_training_goes_back_to_is_still_there(db: Database):
    """The best after it is withdrawn with it; on another machine it may not come again."""
    lease = begun(db, 1)
    save(lease, 10, 0.2)
    save(lease, 20)
    save(lease, 30, 0.1)
    save(lease, 40, 0.05)
    assert kept(db, lease) == [30, 40]  # 20 can be gone back to no more, so 10 is not needed either
    save(lease, 50)
    save(lease, 60)
    assert kept(db, lease) == [40, 50, 60]
    lease = take_over(db, lease)
    assert leases.resume_point(lease).step == 60
    assert jobs.get(db, TENANT, lease.job_id).summary.best.loss == 0.05


def test_a_torn_best_checkpoint_leaves_the_one_that_was_best_before(db: Database):
    lease = begun(db, 1)
    for step, loss in ((10, 0.2), (20, None), (30, 0.1)):
        save(lease, step, loss)
    assert kept(db, lease) == [10, 20, 30]
    with db.begin() as tx:
        newest = tx.execute(update(rows).where(rows.c.step == 30).values(step=30).returning(rows)).one()
        tx.execute(update(blob_chunks).where(blob_chunks.c.sha256 == newest.weights_sha256).values(data=b"torn"))
    lease = take_over(db, lease)
    assert leases.resume_point(lease).step == 20
    best = jobs.get(db, TENANT, lease.job_id).summary.best
    assert (best.checkpoint, best.loss) == (id_of(db, lease, 10), 0.2)


def test_one_that_a_model_pins_stays_until_it_is_pinned_no_more(db: Database):
    lease = begun(db, 1)
    save(lease, 10, 0.9)
    models.pin(db, TENANT, "integrator", Serving(checkpoint=id_of(db, lease, 10)))
    for step in (20, 30, 40):
        save(lease, step, 1.0 / step)
    assert kept(db, lease) == [10, 30, 40]
    served = models.served(db, TENANT, "integrator")
    assert (served.checkpoint, served.pinned) == (id_of(db, lease, 10), True)
    models.pin(db, TENANT, "integrator", Serving(checkpoint=id_of(db, lease, 40)))
    save(lease, 50, 0.01)
    assert kept(db, lease) == [40, 50]


def test_a_pin_made_while_checkpoints_are_removed_holds_or_is_refused(db: Database):
    lease = begun(db, 1)
    for step in (10, 20):
        save(lease, step, 1.0 / step)
    for step in range(30, 200, 10):
        wanted = id_of(db, lease, step - 20)

        def pin(wanted: str = wanted) -> str:
            models.pin(db, TENANT, "integrator", Serving(checkpoint=wanted))
            return wanted

        pinned, saved = at_once([pin, lambda step=step: save(lease, step, 1.0 / step)])
        assert saved is None
        if isinstance(pinned, str):
            assert models.served(db, TENANT, "integrator").checkpoint == pinned
            assert checkpoints.get(db, TENANT, pinned).id == pinned
        else:
            assert isinstance(pinned, InvalidRequest), pinned
            with pytest.raises(NotFound):
                checkpoints.get(db, TENANT, wanted)


def test_what_another_job_keeps_is_not_counted(db: Database):
    first, second = begun(db, 2), begun(db, 2)
    for step in (10, 20, 30):
        save(first, step)
        save(second, step)
    assert kept(db, first) == kept(db, second) == [20, 30]
