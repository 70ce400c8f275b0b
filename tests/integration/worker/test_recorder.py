"""What a recorder writes: each thing once, also when the connection broke at a commit that went through."""

from __future__ import annotations

import numpy as np
import pytest

from rnn.events import Checkpoint, Diverged, Done, Evaluation, Stopped
from store import checkpoints, jobs, journal, leases, metrics
from store.db import Database
from store.errors import DatabaseUnavailable, LeaseLost
from store.leases import Lease
from tests.servers.worker import TENANT, job
from unroll.contract import Stop
from worker.messages import Batch, Steps
from worker.recorder import MAX_BYTES, Recorder


def claimed(db: Database) -> Lease:
    jobs.submit(db, TENANT, "key", jobs.NewJob(job(1000), None, None, 141, 10.5))
    lease = leases.claim(db, "worker", "cpu", 15.0)
    assert lease is not None
    return lease


def steps(first: int, last: int) -> Steps:
    numbers = np.arange(first, last + 1)
    return Steps(("loss", "gradient_norm"), numbers, np.ones((len(numbers), 2, 2)) * numbers[:, None, None])


def checkpoint(step: int, *losses: float | None) -> Checkpoint:
    weights, state = f"weights at {step}".encode(), f"state at {step}".encode()
    return Checkpoint(step, "best" if losses else "periodic", weights, state, losses or None, 0 if losses else None)


def kinds(db: Database, lease: Lease) -> list[str]:
    return [event.type for event in journal.read(db, TENANT, lease.job_id)[0]]


def logged(db: Database, lease: Lease) -> list[int]:
    return metrics.read(db, TENANT, lease.job_id).series[0].steps


def test_what_a_child_says_becomes_metrics_events_progress_and_checkpoints(db: Database) -> None:
    lease = claimed(db)
    recorder = Recorder(lease, 0)
    evaluation = Evaluation(10, np.array([0.5, np.nan]), 0, improved=True)
    recorder.add(
        Batch(10, (steps(1, 10), Diverged(8, 1, np.inf, np.nan, "Clip."), evaluation, checkpoint(10, 0.5, None)))
    )
    recorder.add(Batch(13, (steps(11, 12), Stopped(12, 0, "skill_reached", 0.25))))
    assert recorder.write() is None
    now = jobs.get(db, TENANT, lease.job_id)
    assert now.progress.step == 13
    assert now.progress.loss == [12.0, 12.0]
    assert logged(db, lease) == list(range(1, 13))
    assert kinds(db, lease) == [
        "queued",
        "started",
        "replica_diverged",
        "evaluation",
        "checkpoint",
        "replica_stopped",
        "progress",
    ]
    assert now.stopped_replicas == [Stop(replica=0, step=12, reason="skill_reached", loss=0.25)]
    assert [(one.replica, one.step, one.loss, one.gradient_norm) for one in now.diverged] == [(1, 8, None, None)]
    assert now.diverged[0].hint == recorder.hint == "Clip."
    assert now.best is not None
    assert (now.best.replica, now.best.loss) == (0, 0.5)
    jobs.cancel(db, TENANT, lease.job_id)
    assert recorder.write() == "cancel"


def test_a_report_whose_commit_went_through_while_the_connection_broke_is_not_written_twice(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = claimed(db)
    recorder = Recorder(lease, 0)
    honest = leases.report

    def commit_and_break(*args: object, **options: object) -> None:
        honest(*args, **options)  # type: ignore[arg-type]
        raise DatabaseUnavailable

    first, last = (steps(1, 4), checkpoint(4)), (steps(5, 9), Evaluation(9, np.ones(2), 0, improved=False))
    for items in (first, last):
        recorder.add(Batch(9, items))
        monkeypatch.setattr(leases, "report", commit_and_break)
        with pytest.raises(DatabaseUnavailable):
            recorder.write()
        monkeypatch.setattr(leases, "report", honest)
        recorder.write()
    assert logged(db, lease) == list(range(1, 10))
    assert kinds(db, lease) == ["queued", "started", "checkpoint", "progress", "evaluation"]
    assert len(checkpoints.list_of_job(db, TENANT, lease.job_id).data) == 1


def test_a_long_outage_fills_the_recorder_only_up_to_its_limit_and_loses_nothing(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = claimed(db)
    recorder = Recorder(lease, 0)
    honest = leases.report

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(leases, "report", away)
    for step in (10, 20, 30):
        recorder.add(Batch(step, (steps(step - 9, step), checkpoint(step))))
        with pytest.raises(DatabaseUnavailable):
            recorder.write()
    assert not recorder.full
    huge = Checkpoint(40, "periodic", bytes(MAX_BYTES + 1), b"", None, None)
    full = Recorder(lease, 30)
    full.add(Batch(40, (huge,)))
    assert full.full
    monkeypatch.setattr(leases, "report", honest)
    recorder.add(Batch(30, (Done(30, "preempted"),)))
    recorder.write()
    assert logged(db, lease) == list(range(1, 31))
    assert [one.step for one in checkpoints.list_of_job(db, TENANT, lease.job_id).data] == [30, 20, 10]
    assert not recorder.full


def test_the_time_left_is_told_once_half_a_second_of_training_says_how_fast_it_is(db: Database) -> None:
    lease = claimed(db)
    now = 0.0
    recorder = Recorder(lease, 0, clock=lambda: now)
    told = []
    # a tenth of a second until the first step, which is told at once, then 100 steps a second
    for now, step in ((0.1, 1), (0.35, 26), (0.5, 41), (0.6, 51), (1.1, 101)):  # noqa: B007 - the clock reads it
        recorder.add(Batch(step, (steps(step, step),)))
        recorder.write()
        progress = jobs.get(db, TENANT, lease.job_id).progress
        told.append((progress.steps_per_second, progress.eta_seconds))
    assert told[:3] == [(None, None)] * 3
    assert told[3] == (100.0, pytest.approx(9.49))
    assert told[4] == (100.0, pytest.approx(8.99))
    etas = [e.data["eta_seconds"] for e in journal.read(db, TENANT, lease.job_id)[0] if e.type == "progress"]
    assert etas == [None, pytest.approx(9.49), pytest.approx(8.99)]


def test_an_attempt_that_lost_its_lease_writes_nothing(db: Database) -> None:
    lease = claimed(db)
    recorder = Recorder(lease, 0)
    leases.give_back(lease, "queued")
    taken = leases.claim(db, "another", "cpu", 15.0)
    assert taken is not None
    recorder.add(Batch(4, (steps(1, 4), checkpoint(4))))
    with pytest.raises(LeaseLost):
        recorder.write()
    assert jobs.get(db, TENANT, lease.job_id).progress.step == 0
    assert metrics.read(db, TENANT, lease.job_id).series == []
    assert checkpoints.list_of_job(db, TENANT, lease.job_id).data == []
