"""Registered models: one configuration a name, and which checkpoint predict uses."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from store import checkpoints, jobs, leases, models
from store.db import Database
from store.errors import InvalidRequest, ModelInUse, NameConflict, NoCheckpoint, NotFound
from store.leases import Report
from tests.integration.store.factories import KEY, NETWORK, TENANT, at_once, checkpoint, claim, new_job
from unroll.contract import Network, NewModel, Serving

WIDER = NETWORK.model_copy(update={"input_size": 2})


def register(db: Database, name: str = "integrator", config: Network = NETWORK) -> None:
    models.register(db, TENANT, NewModel(name=name, config=config), 19)


def trained(db: Database, losses: tuple[float | None, ...] = (0.5, 0.25), *, status: str = "succeeded") -> str:
    """A job of `integrator` that has ended; the id of its checkpoint."""
    model_id, _ = models.resolve(db, TENANT, "integrator")
    jobs.submit(db, TENANT, KEY, new_job(model_id=model_id, model_name="integrator", replicas=len(losses)))
    lease = claim(db)
    leases.report(lease, Report(checkpoint=checkpoint(10, losses=losses, replicas=len(losses))))
    leases.end(lease, status)
    return checkpoints.list_of_job(db, TENANT, lease.job_id).data[0].id


def test_registering_again_alike_is_no_error_and_differently_is(db: Database):
    first, created = models.register(db, TENANT, NewModel(name="m", config=NETWORK), 19)
    again, created_again = models.register(db, TENANT, NewModel(name="m", config=NETWORK), 19)
    assert (created, created_again) == (True, False)
    assert first == again == models.get(db, TENANT, "m")
    with pytest.raises(NameConflict) as refusal:
        models.register(db, TENANT, NewModel(name="m", config=WIDER), 22)
    assert refusal.value.pointer == "/name"


def test_a_configuration_stored_before_a_field_had_a_default_is_still_the_same(db: Database):
    register(db, "m")
    with db.begin() as tx:
        old = NETWORK.model_dump_json(exclude_defaults=True)
        tx.execute(text("UPDATE models SET config = :old"), {"old": old})
    _, created = models.register(db, TENANT, NewModel(name="m", config=NETWORK), 19)
    assert not created


def test_of_many_that_register_a_name_at_once_one_creates_it(db: Database):
    for round_ in range(5):
        new = NewModel(name=f"m{round_}", config=NETWORK)
        answers = at_once([lambda: models.register(db, TENANT, new, 19)] * 6)  # noqa: B023
        assert sorted(created for _, created in answers) == [False] * 5 + [True]


def test_predict_uses_the_best_of_the_job_that_finished_last(db: Database):
    register(db)
    with pytest.raises(NoCheckpoint):
        models.served(db, TENANT, "integrator")
    trained(db, (0.1, 0.2))
    last = trained(db, (0.9, 0.8))
    trained(db, (0.01, 0.02), status="cancelled")
    served = models.served(db, TENANT, "integrator")
    assert (served.checkpoint, served.replica, served.pinned) == (last, 1, False)
    assert models.get(db, TENANT, "integrator").serving == served


def test_a_pin_holds_until_its_checkpoint_is_deleted(db: Database):
    register(db)
    first = trained(db, (0.1, 0.2))
    last = trained(db)
    pinned = models.pin(db, TENANT, "integrator", Serving(checkpoint=first)).serving
    assert (pinned.checkpoint, pinned.replica, pinned.pinned) == (first, 0, True)
    assert models.pin(db, TENANT, "integrator", Serving(checkpoint=first, replica=1)).serving.replica == 1
    jobs.remove(db, TENANT, checkpoints.get(db, TENANT, first).job)
    assert models.served(db, TENANT, "integrator").checkpoint == last


def test_a_pin_that_does_not_fit_is_refused_where_it_is_wrong(db: Database):
    register(db)
    evaluated, bare = trained(db), trained(db, (None, None))
    register(db, "wider", WIDER)
    for name, serving, pointer in (
        ("integrator", Serving(checkpoint="ckpt_unknown"), "/checkpoint"),
        ("wider", Serving(checkpoint=evaluated), "/checkpoint"),
        ("integrator", Serving(checkpoint=evaluated, replica=2), "/replica"),
        ("integrator", Serving(checkpoint=bare), "/replica"),
    ):
        with pytest.raises(InvalidRequest) as refusal:
            models.pin(db, TENANT, name, serving)
        assert refusal.value.pointer == pointer
    assert not models.served(db, TENANT, "integrator").pinned


def test_a_model_in_use_stays_and_one_that_is_not_goes_without_its_jobs(db: Database):
    register(db)
    model_id, _ = models.resolve(db, TENANT, "integrator")
    job, _ = jobs.submit(db, TENANT, KEY, new_job(model_id=model_id, model_name="integrator"))
    with pytest.raises(ModelInUse, match=job.id):
        models.remove(db, TENANT, "integrator")
    jobs.cancel(db, TENANT, job.id)
    models.remove(db, TENANT, "integrator")
    with pytest.raises(NotFound):
        models.get(db, TENANT, "integrator")
    assert jobs.get(db, TENANT, job.id).summary.model == "integrator"
