"""Jobs that read checkpoints of other jobs: what they read is kept for them, or they fail and say what is gone."""

from __future__ import annotations

import pytest

from store import checkpoints, inputs, jobs, journal, leases, models
from store.db import Database
from store.errors import InputGone, InvalidRequest, NotFound
from store.leases import Lease, Report
from tests.integration.store.factories import (
    KEY,
    NETWORK,
    TENANT,
    at_once,
    checkpoint,
    claim,
    count,
    load_inputs,
    new,
    new_job,
    submit,
    submit_reader,
)
from unroll.contract import EvaluateJob, Job, JobError, NewModel, Serving


def begun(db: Database) -> Lease:
    submit(db, steps=100_000, priority=50)
    return claim(db, "trainer")


def save(lease: Lease, *steps: int) -> None:
    """Checkpoints of which one is kept, beside those that training can go back to."""
    for step in steps:
        leases.report(lease, Report(checkpoint=checkpoint(step, keep=1), step=step))


def kept(db: Database, lease: Lease) -> list[int]:
    return [one.step for one in reversed(checkpoints.list_of_job(db, TENANT, lease.job_id, limit=100).data)]


def id_of(db: Database, lease: Lease, step: int) -> str:
    return next(one.id for one in checkpoints.list_of_job(db, TENANT, lease.job_id, limit=100).data if one.step == step)


def finish(db: Database, job: Job) -> None:
    lease = claim(db, "reader")
    assert lease.job_id == job.id
    leases.end(lease, "succeeded")


def test_a_job_gets_what_it_reads_with_its_content(db: Database):
    trainer = begun(db)
    save(trainer, 10)
    read = id_of(db, trainer, 10)
    job = submit_reader(db, read)
    assert claim(db).config.checkpoints_read() == {"/checkpoint": read}
    found = load_inputs(db, TENANT, job.id)
    assert {one: (got.about.step, got.weights) for one, got in found.items()} == {read: (10, b"weights at 10")}
    assert found[read].about == checkpoints.get(db, TENANT, read)
    assert found[read].about.network == NETWORK
    assert load_inputs(db, TENANT, trainer.job_id) == {}


def test_pruning_spares_what_an_unfinished_job_reads_and_takes_it_once_that_has_ended(db: Database):
    trainer = begun(db)
    save(trainer, 10)
    readers = [submit_reader(db, id_of(db, trainer, 10)) for _ in range(2)]
    save(trainer, 20, 30, 40)
    assert kept(db, trainer) == [10, 30, 40]
    finish(db, readers[0])
    save(trainer, 50)
    assert kept(db, trainer) == [10, 40, 50]  # another job reads it, queued
    paused = readers[1]
    jobs.pause(db, TENANT, paused.id)
    save(trainer, 60)
    assert kept(db, trainer) == [10, 50, 60]
    jobs.resume(db, TENANT, paused.id)
    reader = claim(db, "reader")
    save(trainer, 70)
    assert kept(db, trainer) == [10, 60, 70]  # it runs
    leases.end(reader, "cancelled")
    save(trainer, 80)
    assert kept(db, trainer) == [70, 80]


def test_a_job_submitted_while_checkpoints_are_pruned_has_its_input_or_is_refused(db: Database):
    trainer = begun(db)
    save(trainer, 10, 20)
    outcomes = set()
    for step in range(30, 330, 10):
        # in turn the checkpoint that this save prunes, for which they race, and the newest, which stays
        wanted = id_of(db, trainer, step - (20 if step % 20 else 10))
        submitted, saved = at_once(
            [lambda wanted=wanted: submit_reader(db, wanted), lambda step=step: save(trainer, step)]
        )
        assert saved is None
        if isinstance(submitted, Job):
            assert list(load_inputs(db, TENANT, submitted.id)) == [wanted]
            jobs.cancel(db, TENANT, submitted.id)
        else:
            assert isinstance(submitted, InvalidRequest), submitted
            assert submitted.pointer == "/checkpoint"
            with pytest.raises(NotFound):
                checkpoints.get(db, TENANT, wanted)
        outcomes.add(type(submitted))
    assert Job in outcomes


@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_a_prune_does_not_take_what_a_submit_holds_that_has_not_been_committed(db: Database):
    trainer = begun(db)
    save(trainer, 10, 20)
    reader = submit(db)
    with db.begin() as tx:
        inputs.add(tx, TENANT, reader.id, {"/checkpoint": id_of(db, trainer, 10)})
        save(trainer, 30)
        assert kept(db, trainer) == [10, 20, 30]
    save(trainer, 40)
    assert kept(db, trainer) == [10, 30, 40]


def test_a_submit_that_reads_what_is_not_there_is_refused_and_leaves_nothing(db: Database):
    trainer = begun(db)
    save(trainer, 10)
    ours = id_of(db, trainer, 10)
    before = {table: count(db, table) for table in ("jobs", "events", "inputs")}
    for tenant, read in ((TENANT, "ckpt_unknown"), ("another lab", ours)):
        with pytest.raises(InvalidRequest) as refusal:
            submit_reader(db, read, tenant)
        assert refusal.value.pointer == "/checkpoint"
        assert read in str(refusal.value)
    assert {table: count(db, table) for table in before} == before


def test_a_job_submitted_while_its_parent_is_deleted_loses_its_input_or_is_refused(db: Database):
    for _ in range(15):
        trainer = begun(db)
        save(trainer, 10)
        leases.end(trainer, "succeeded")
        config = EvaluateJob(checkpoint=id_of(db, trainer, 10))
        job = new(config, total=512, parent=trainer.job_id)
        submitted, removed = at_once(
            [
                lambda job=job: jobs.submit(db, TENANT, KEY, job)[0],
                lambda trainer=trainer: jobs.remove(db, TENANT, trainer.job_id),
            ]
        )
        assert removed is None
        if isinstance(submitted, Job):
            found = jobs.get(db, TENANT, submitted.id)
            assert (found.status, found.parent) == ("queued", None)
            with pytest.raises(InputGone, match=config.checkpoint):
                load_inputs(db, TENANT, submitted.id)
        else:
            assert isinstance(submitted, InvalidRequest), submitted
            assert submitted.pointer == "/checkpoint"
    assert leases.claim(db, "w", "cpu", 60) is None  # every one that was stored fails for its input


def test_a_submit_after_its_parent_was_deleted_names_the_checkpoint(db: Database):
    trainer = begun(db)
    save(trainer, 10)
    leases.end(trainer, "succeeded")
    job = new(EvaluateJob(checkpoint=id_of(db, trainer, 10)), total=512, parent=trainer.job_id)
    jobs.remove(db, TENANT, trainer.job_id)
    with pytest.raises(InvalidRequest) as refusal:
        jobs.submit(db, TENANT, KEY, job)
    assert refusal.value.pointer == "/checkpoint"


def test_a_queued_job_whose_input_was_deleted_fails_at_the_claim_and_the_next_one_is_taken(db: Database):
    trainer = begun(db)
    save(trainer, 10)
    leases.end(trainer, "succeeded")
    read = id_of(db, trainer, 10)
    orphans = [submit_reader(db, read, priority=9) for _ in range(3)]
    other = submit(db)
    jobs.remove(db, TENANT, trainer.job_id)
    lease = claim(db)
    assert lease.job_id == other.id
    for orphan in orphans:
        found = jobs.get(db, TENANT, orphan.id)
        assert (found.status, found.attempt, found.error.code) == ("failed", 0, "input_gone")
        assert read in found.error.message
        assert (found.started_at, found.ended_at is not None) == (None, True)
        told, closed = journal.read(db, TENANT, orphan.id)
        assert [event.type for event in told] == ["queued", "end"]
        assert closed
        assert (told[-1].data["status"], told[-1].data["error"]["code"]) == ("failed", "input_gone")
    leases.end(lease, "succeeded")
    assert leases.claim(db, "w", "cpu", 60) is None
    jobs.retry(db, TENANT, orphans[0].id)  # it fails again, and does not block the queue
    assert leases.claim(db, "w", "cpu", 60) is None
    assert jobs.get(db, TENANT, orphans[0].id).status == "failed"


def test_a_queue_of_orphans_alone_ends_in_one_claim_that_finds_nothing(db: Database):
    trainer = begun(db)
    save(trainer, 10)
    leases.end(trainer, "succeeded")
    orphans = [submit_reader(db, id_of(db, trainer, 10)) for _ in range(3)]
    jobs.remove(db, TENANT, trainer.job_id)
    assert leases.claim(db, "w", "cpu", 60) is None
    assert [jobs.get(db, TENANT, orphan.id).status for orphan in orphans] == ["failed"] * 3


def test_an_input_that_goes_while_the_job_runs_is_named(db: Database):
    trainer = begun(db)
    save(trainer, 10)
    leases.end(trainer, "succeeded")
    read = id_of(db, trainer, 10)
    job = submit_reader(db, read)
    reader = claim(db)
    jobs.remove(db, TENANT, trainer.job_id)
    with pytest.raises(InputGone, match=read):
        load_inputs(db, TENANT, job.id)
    leases.end(reader, "failed", error=JobError(code="input_gone", message="gone"))
    assert jobs.get(db, TENANT, job.id).error.code == "input_gone"


def test_a_pin_and_a_reader_keep_a_checkpoint_each_for_itself(db: Database):
    models.register(db, TENANT, NewModel(name="integrator", config=NETWORK), 19)
    model_id, _ = models.resolve(db, TENANT, "integrator")
    jobs.submit(db, TENANT, KEY, new_job(steps=1000, model_id=model_id, model_name="integrator"))
    trainer = claim(db)
    leases.report(trainer, Report(checkpoint=checkpoint(10, losses=(0.9,), keep=1), step=10))
    first = id_of(db, trainer, 10)
    models.pin(db, TENANT, "integrator", Serving(checkpoint=first))
    reader = submit_reader(db, first)
    for step in (20, 30, 40):
        leases.report(trainer, Report(checkpoint=checkpoint(step, losses=(1 / step,), keep=1), step=step))
    jobs.cancel(db, TENANT, reader.id)
    leases.report(trainer, Report(checkpoint=checkpoint(50, losses=(0.01,), keep=1), step=50))
    assert kept(db, trainer) == [10, 40, 50]
