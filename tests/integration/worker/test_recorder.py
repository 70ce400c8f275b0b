"""What a recorder writes: each thing once, also when the connection broke at a commit that went through."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rnn.events import Artifact, Checkpoint, CheckpointOf, End, Entry, Result
from store import artifacts, checkpoints, jobs, journal, leases, metrics
from store.db import Database
from store.errors import DatabaseUnavailable, LeaseLost
from store.leases import Lease
from tests.integration.store.factories import FACTS, NETWORK, take_over
from tests.servers.worker import TENANT, job
from unroll.contract import Divergence, Stop
from worker.messages import Bundle, Item, Steps
from worker.recorder import MAX_BYTES, Recorder


def claimed(db: Database) -> Lease:
    jobs.submit(db, TENANT, "key", jobs.NewJob(job(1000), "trainer", 1000, FACTS))
    lease = leases.claim(db, "worker", "cpu", 15.0)
    assert lease is not None
    return lease


def steps(first: int, last: int) -> Steps:
    numbers = np.arange(first, last + 1)
    return Steps(("loss", "gradient_norm"), numbers, np.ones((len(numbers), 2, 2)) * numbers[:, None, None])


def checkpoint(step: int, *losses: float | None) -> Checkpoint:
    weights, state = f"weights at {step}".encode(), f"state at {step}".encode()
    reason, best = ("best", 0) if losses else ("periodic", None)
    about = CheckpointOf(NETWORK, "float32", replicas=2, keep=20)
    return Checkpoint(step, reason, weights, state, losses or None, best, about=about)


DIVERGED = Divergence(replica=1, step=8, loss=None, gradient_norm=None, hint="Clip.").model_dump(mode="json")
STOPPED = Stop(replica=0, step=12, reason="skill_reached", loss=0.25).model_dump(mode="json")
EVALUATED = Entry(10, "evaluation", {"step": 10, "loss": [0.5, None], "best": True})


def kinds(db: Database, lease: Lease) -> list[str]:
    return [event.type for event in journal.read(db, TENANT, lease.job_id)[0]]


def logged(db: Database, lease: Lease) -> list[int]:
    return metrics.read(db, TENANT, lease.job_id).series[0].steps


def test_what_a_child_says_becomes_metrics_events_progress_and_checkpoints(db: Database) -> None:
    lease = claimed(db)
    recorder = Recorder(lease, 0)
    diverged = Entry(8, "replica_diverged", DIVERGED, "diverged")
    recorder.add(Bundle(10, (steps(1, 10), diverged, EVALUATED, checkpoint(10, 0.5, None))))
    recorder.add(Bundle(13, (steps(11, 12), Entry(12, "replica_stopped", STOPPED, "stopped_replicas"))))
    assert recorder.write() is None
    now = jobs.get(db, TENANT, lease.job_id)
    assert now.progress.step == 13
    assert now.summary.loss == [12.0, 12.0]
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
    told = {event.type: event.data for event in journal.read(db, TENANT, lease.job_id)[0]}
    assert now.summary.stopped_replicas == [Stop(**STOPPED)] == [Stop(**told["replica_stopped"])]
    assert now.summary.diverged == [Divergence(**DIVERGED)] == [Divergence(**told["replica_diverged"])]
    assert told["evaluation"] == EVALUATED.data
    assert told["progress"]["loss"] == [12.0, 12.0]
    (saved,) = checkpoints.list_of_job(db, TENANT, lease.job_id).data
    assert (saved.network, saved.dtype, saved.replicas) == (NETWORK, "float32", 2)
    assert now.summary.best is not None
    assert (now.summary.best.replica, now.summary.best.loss) == (0, 0.5)
    jobs.cancel(db, TENANT, lease.job_id)
    assert recorder.write() == "cancel"


def test_a_report_whose_commit_went_through_while_the_connection_broke_is_not_written_twice(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = claimed(db)
    recorder = Recorder(lease, 0)
    honest = leases.report

    def commit_and_break(lease: Lease, report: leases.Report, *, again: bool) -> object:
        answer = honest(lease, report, again=again)
        # entries alone cannot be told apart, and would be written twice
        if not again and (report.blocks or report.checkpoint or report.artifacts or report.collected):
            raise DatabaseUnavailable
        return answer

    said: list[tuple[Item, ...]] = [
        (steps(1, 4), checkpoint(4)),
        (steps(5, 9), EVALUATED),
        (Entry(9, "replica_diverged", DIVERGED, "diverged"),),
        (Artifact("a.txt", "text/plain", b"first"),),
        (Artifact("a.txt", "text/plain", b"second"),),
        (Result({"losses": [1.0, None]}, {"stopped": "max_seconds"}),),
    ]
    monkeypatch.setattr(leases, "report", commit_and_break)
    for items in said:
        recorder.add(Bundle(9, items))
        with pytest.raises(DatabaseUnavailable):
            recorder.write()
        while True:
            try:
                recorder.write()
            except DatabaseUnavailable:
                continue
            break
    assert logged(db, lease) == list(range(1, 10))
    expected = ["checkpoint", "progress", "evaluation", "replica_diverged", "artifact", "artifact", "artifact"]
    assert kinds(db, lease) == ["queued", "started", *expected]
    assert len(checkpoints.list_of_job(db, TENANT, lease.job_id).data) == 1
    summary = jobs.get(db, TENANT, lease.job_id).summary
    assert (summary.diverged, summary.stopped) == ([Divergence(**DIVERGED)], "max_seconds")
    made = {one.name: one for one in artifacts.list_of_job(db, TENANT, lease.job_id)}
    assert list(made) == ["a.txt", "result.json"]
    content = artifacts.content(db, TENANT, lease.job_id, "a.txt", made["a.txt"].sha256)
    assert content == b"second"
    found = artifacts.content(db, TENANT, lease.job_id, "result.json", made["result.json"].sha256)
    assert json.loads(found) == {"losses": [1.0, None]}


def test_a_report_that_did_not_go_through_is_written_although_one_much_like_it_was(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = claimed(db)
    recorder = Recorder(lease, 0)

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    recorder.add(Bundle(1, (Artifact("a.txt", "text/plain", b"first"),)))
    recorder.write()
    recorder.add(Bundle(1, (Artifact("a.txt", "text/plain", b"second"),)))
    with monkeypatch.context() as patch:
        patch.setattr(leases, "report", away)
        with pytest.raises(DatabaseUnavailable):
            recorder.write()
    recorder.write()
    (made,) = artifacts.list_of_job(db, TENANT, lease.job_id)
    assert artifacts.content(db, TENANT, lease.job_id, "a.txt", made.sha256) == b"second"


def test_an_artifact_made_after_a_checkpoint_goes_with_a_rewind_to_it(db: Database) -> None:
    lease = claimed(db)
    recorder = Recorder(lease, 0)
    recorder.add(Bundle(4, (steps(1, 4), Artifact("before", "text/plain", b"b"), checkpoint(4))))
    recorder.add(Bundle(9, (Artifact("after", "text/plain", b"a"),)))
    recorder.add(Bundle(9, (Result({}, {"stopped": "max_seconds"}),)))
    recorder.write()
    assert [one.name for one in artifacts.list_of_job(db, TENANT, lease.job_id)] == ["after", "before", "result.json"]
    assert jobs.get(db, TENANT, lease.job_id).summary.stopped == "max_seconds"
    take_over(db, lease)
    assert [one.name for one in artifacts.list_of_job(db, TENANT, lease.job_id)] == ["before"]
    assert jobs.get(db, TENANT, lease.job_id).summary.stopped is None


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
        recorder.add(Bundle(step, (steps(step - 9, step), checkpoint(step))))
        with pytest.raises(DatabaseUnavailable):
            recorder.write()
    assert not recorder.full
    for huge in (
        replace(checkpoint(40), weights=bytes(MAX_BYTES + 1)),
        Artifact("huge", "application/octet-stream", bytes(MAX_BYTES + 1)),
    ):
        full = Recorder(lease, 30)
        full.add(Bundle(40, (huge,)))
        assert full.full
    monkeypatch.setattr(leases, "report", honest)
    recorder.add(Bundle(30, (End(30, "preempted"),)))
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
        recorder.add(Bundle(step, (steps(step, step),)))
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
    leases.give_back(lease, drained=True)
    taken = leases.claim(db, "another", "cpu", 15.0)
    assert taken is not None
    recorder.add(Bundle(4, (steps(1, 4), checkpoint(4))))
    with pytest.raises(LeaseLost):
        recorder.write()
    assert jobs.get(db, TENANT, lease.job_id).progress.step == 0
    assert metrics.read(db, TENANT, lease.job_id).series == []
    assert checkpoints.list_of_job(db, TENANT, lease.job_id).data == []
