"""The envelope that jobs of every kind share, and jobs that the reconciler drives."""

from __future__ import annotations

import pytest

from store import checkpoints, jobs, journal, leases, recovery
from store.db import Database
from store.leases import Report
from store.states import move
from tests.integration.store.factories import (
    KEY,
    TENANT,
    checkpoint,
    claim,
    new,
    submit,
    submit_reader,
    train,
)
from unroll.contract import (
    Divergence,
    EvaluateJob,
    EvaluateSummary,
    ExportJob,
    ExportSummary,
    TrainSummary,
)


@pytest.fixture
def trained(db: Database) -> str:
    """The id of a checkpoint of a job that has succeeded."""
    job = submit(db)
    lease = claim(db)
    train(lease, 1, 10)
    leases.report(lease, Report(checkpoint=checkpoint(10, losses=(0.25,)), step=10))
    leases.end(lease, "succeeded")
    return checkpoints.list_of_job(db, TENANT, job.id).data[0].id


def test_a_train_job_says_its_best_network_its_losses_and_what_became_of_its_replicas(db: Database):
    job = submit(db, replicas=2)
    assert job.kind == "train"
    assert job.summary == TrainSummary(parameters=19, baseline_loss=1.5)
    lease = claim(db)
    diverged = Divergence(replica=1, step=5, loss=None, gradient_norm=None)
    leases.report(
        lease,
        Report(
            checkpoint=checkpoint(10, losses=(0.25, None), replicas=2),
            step=10,
            latest={"loss": [0.5, None]},
            collected=[("diverged", diverged.model_dump(mode="json"))],
        ),
    )
    leases.report(lease, Report(summary={"stopped": "max_seconds"}))
    leases.end(lease, "succeeded")
    summary = jobs.get(db, TENANT, job.id).summary
    saved = checkpoints.list_of_job(db, TENANT, job.id).data[0].id
    assert isinstance(summary, TrainSummary)
    assert (summary.best.checkpoint, summary.best.replica, summary.best.loss) == (saved, 0, 0.25)
    assert (summary.last_checkpoint, summary.loss, summary.stopped) == (saved, [0.5, None], "max_seconds")
    assert summary.diverged == [diverged]


def test_an_evaluate_job_says_what_it_found_and_nothing_of_training(db: Database, trained: str):
    job = submit_reader(db, trained, lengths=[20, 40], sequences=64)
    assert job.kind == "evaluate"
    assert job.config == EvaluateJob(checkpoint=trained, lengths=[20, 40], sequences=64)
    assert job.summary == EvaluateSummary(parameters=19, baseline_loss=1.5)
    lease = claim(db)
    assert (lease.config, lease.total) == (job.config, 64)
    leases.report(lease, Report(step=64, summary={"loss": 0.5, "sd": 0.1, "ci95": [0.4, 0.6], "skill": 0.9}))
    leases.end(lease, "succeeded")
    found = jobs.get(db, TENANT, job.id)
    expected = EvaluateSummary(parameters=19, baseline_loss=1.5, loss=0.5, sd=0.1, ci95=(0.4, 0.6), skill=0.9)
    assert found.summary == expected
    assert (found.progress.step, found.progress.total) == (64, 64)


def test_an_export_job_says_what_it_wrote_and_how_near_it_is(db: Database, trained: str):
    config = ExportJob(checkpoint=trained, format="onnx")
    job, _ = jobs.submit(db, TENANT, KEY, new(config, total=1))
    assert (job.kind, job.config, job.summary) == ("export", config, ExportSummary(parameters=19))
    lease = claim(db)
    parity = {
        "relative": 1e-8,
        "tolerance": 1e-6,
        "passed": True,
        "sequences": 8,
        "steps": 24,
        "reference": "float32",
        "rounding": 1e-8,
        "arithmetic": "float32",
        "by": {"onnxruntime 1": 1e-8},
    }
    leases.report(lease, Report(step=1, summary={"artifact": "model.onnx", "size": 7, "parity": parity}))
    summary = jobs.get(db, TENANT, job.id).summary
    assert (summary.artifact, summary.size, summary.parity.model_dump()) == ("model.onnx", 7, parity)


def test_lists_show_jobs_of_every_kind_and_filter_by_kind_and_parent(db: Database, trained: str):
    parent = checkpoints.get(db, TENANT, trained).job
    configs = (EvaluateJob(checkpoint=trained), ExportJob(checkpoint=trained, format="npz"))
    children = [jobs.submit(db, TENANT, KEY, new(one, total=1, parent=parent))[0].id for one in configs]
    other = submit(db).id
    assert [job.id for job in jobs.list_(db, TENANT).data] == [other, *reversed(children), parent]
    assert [job.id for job in jobs.list_(db, TENANT, parent=parent).data] == list(reversed(children))
    assert [job.id for job in jobs.list_(db, TENANT, parent=parent, kind="evaluate").data] == children[:1]
    assert [job.id for job in jobs.list_(db, TENANT, kind="export").data] == children[1:]
    assert jobs.list_(db, TENANT, parent=other).data == []
    assert jobs.list_(db, "another lab", parent=parent).data == []
    assert [jobs.get(db, TENANT, child).parent for child in children] == [parent, parent]


def test_a_deleted_parent_leaves_its_children_without_one(db: Database, trained: str):
    parent = checkpoints.get(db, TENANT, trained).job
    child, _ = jobs.submit(db, TENANT, KEY, new(EvaluateJob(checkpoint=trained), total=1, parent=parent))
    leases.end(claim(db), "succeeded")
    jobs.remove(db, TENANT, parent)
    found = jobs.get(db, TENANT, child.id)
    assert (found.status, found.parent) == ("succeeded", None)
    assert jobs.list_(db, TENANT, parent=parent).data == []


def test_workers_leave_alone_what_the_reconciler_drives(db: Database):
    sweep = submit(db, driver="reconciler", priority=100)
    assert leases.claim(db, "w", "cpu", 60.0) is None
    assert recovery.unheard(db, -1.0) == []
    usual = submit(db)
    assert [waiting.job_id for waiting in recovery.unheard(db, -1.0)] == [usual.id]
    assert claim(db).job_id == usual.id
    assert jobs.get(db, TENANT, sweep.id).status == "queued"
    with db.begin() as tx:
        move(tx, sweep.id, "queued", "running")
    assert recovery.expire(db, 3) == []  # it holds no lease that could run out
    assert jobs.get(db, TENANT, sweep.id).status == "running"


@pytest.mark.parametrize("drained", [False, True])
def test_a_job_given_back_says_whether_a_pause_was_taken_back_or_the_worker_went(db: Database, *, drained: bool):
    job = submit(db)
    lease = claim(db)
    if not drained:
        jobs.pause(db, TENANT, job.id)
        assert leases.report(lease, Report()) == "pause"
        jobs.resume(db, TENANT, job.id)
    leases.give_back(lease, drained=drained)
    told = journal.read(db, TENANT, job.id)[0][-1]
    assert (told.type, told.data) == ("queued", {"reason": "drained" if drained else "resumed"})
