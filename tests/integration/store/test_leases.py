"""Leases run out by the database's clock; crashes are counted since the last progress; the user's last word counts."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import literal, text

from store import jobs, journal, leases, recovery
from store.db import Database
from store.errors import InvalidTransition, LeaseLost
from store.leases import Lease, Report
from tests.integration.store.factories import (
    TENANT,
    at_once,
    checkpoint,
    claim,
    expire_lease,
    submit,
    take_over,
    train,
)
from unroll.contract import Divergence, Environment, Job, JobError, Stop

Wish = Callable[[Database, str, str], Job]
DIED = JobError(code="crashed", message="The trainer died.", log="Killed")
ENVIRONMENT = Environment(worker="w1", device="cpu", engine="e", torch="2", threads=1, instruction_set="avx2")


def told(one: Divergence | Stop) -> tuple[str, dict]:
    """What a job's summary collects of it."""
    return "diverged" if isinstance(one, Divergence) else "stopped_replicas", one.model_dump(mode="json")


def pass_time(db: Database, seconds: float) -> None:
    """To every lease it is as if so much time had passed."""
    with db.begin() as tx:
        tx.execute(text("UPDATE jobs SET lease_expires = lease_expires - :seconds"), {"seconds": seconds})


def test_a_lease_runs_out_when_its_seconds_have_passed(db: Database):
    job = submit(db)
    claim(db, seconds=0.2)
    begun = time.monotonic()
    while not recovery.expire(db, 3):
        assert time.monotonic() - begun < 30
        time.sleep(0.02)
    assert time.monotonic() - begun > 0.1
    assert jobs.get(db, TENANT, job.id).status == "queued"


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_the_clock_of_the_process_does_not_matter(db: Database, monkeypatch: pytest.MonkeyPatch, skew: float):
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + skew)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(skew * 1e9))
    job = submit(db)
    lease = claim(db, seconds=60)
    assert recovery.expire(db, 3) == []
    assert abs(jobs.get(db, TENANT, job.id).started_at.timestamp() - real()) < 60
    pass_time(db, 61)
    assert [waiting.job_id for waiting in recovery.expire(db, 3)] == [job.id]
    with pytest.raises(LeaseLost):
        train(lease, 1, 2)


def test_with_the_clock_of_a_process_an_hour_ahead_a_healthy_job_would_be_taken_over(
    db: Database, monkeypatch: pytest.MonkeyPatch
):
    """The ablation of the test above."""
    job = submit(db)
    claim(db, seconds=60)
    monkeypatch.setattr(recovery, "db_now", lambda: literal(time.time() + 3600))
    assert [waiting.job_id for waiting in recovery.expire(db, 3)] == [job.id]


def test_every_report_renews_the_lease(db: Database):
    job = submit(db)
    lease = claim(db, seconds=60)
    for _ in range(3):
        pass_time(db, 45)
        leases.report(lease, Report())
        assert recovery.expire(db, 3) == []
    pass_time(db, 61)
    assert [waiting.job_id for waiting in recovery.expire(db, 3)] == [job.id]


def test_a_lease_that_ran_out_but_was_not_taken_back_can_still_be_renewed(db: Database):
    submit(db)
    lease = claim(db, seconds=60)
    expire_lease(db, lease.job_id)
    train(lease, 1, 5)
    assert recovery.expire(db, 3) == []


def test_reconcilers_that_run_at_once_take_a_job_back_once(db: Database):
    job = submit(db)
    claim(db)
    for _ in range(5):
        expire_lease(db, job.id)
        answers = at_once([lambda: recovery.expire(db, 99)] * 6)
        assert sum(len(answer) for answer in answers) == 1
        claim(db)
    told, _ = journal.read(db, TENANT, job.id)
    assert [event.type for event in told].count("interrupted") == 5


def crash_once(db: Database) -> Job:
    lease = claim(db)
    leases.crash(lease, DIED, 3)
    return jobs.get(db, TENANT, lease.job_id)


def test_a_poison_job_fails_after_exactly_max_crashes_with_its_cause_and_others_run(db: Database):
    poison = submit(db, priority=1)
    other = submit(db)
    for crashes in (1, 2):
        job = crash_once(db)
        assert (job.id, job.status, job.crashes) == (poison.id, "queued", crashes)
    job = crash_once(db)
    assert (job.status, job.crashes, job.attempt) == ("failed", 3, 3)
    assert (job.error.code, job.error.log, job.error.checkpoint) == ("crashed", "Killed", None)
    told, closed = journal.read(db, TENANT, poison.id)
    assert closed
    assert told[-1].data["error"]["log"] is None  # logs are not for every reader of a stream
    assert claim(db).job_id == other.id


def test_a_checkpoint_resets_the_count_and_metrics_alone_do_not(db: Database):
    submit(db)
    crash_once(db)
    lease = claim(db)
    train(lease, 1, 10)
    leases.crash(lease, DIED, 3)
    assert jobs.get(db, TENANT, lease.job_id).crashes == 2
    lease = claim(db)
    train(lease, 1, 10, checkpointed=True)
    assert jobs.get(db, TENANT, lease.job_id).crashes == 0
    leases.crash(lease, DIED, 3)
    job = jobs.get(db, TENANT, lease.job_id)
    assert (job.status, job.crashes) == ("queued", 1)


def test_handing_over_the_checkpoint_that_the_attempt_began_from_is_no_progress(db: Database):
    submit(db)
    train(claim(db), 1, 10, checkpointed=True)
    expire_lease(db, jobs.list_(db, TENANT).data[0].id)
    recovery.expire(db, 3)
    lease = claim(db)
    before = jobs.get(db, TENANT, lease.job_id)
    seq = journal.read(db, TENANT, lease.job_id)[0][-1].seq
    leases.report(lease, Report(checkpoint=checkpoint(10), step=10))
    after = jobs.get(db, TENANT, lease.job_id)
    assert (
        (after.crashes, after.summary.last_checkpoint)
        == (before.crashes, before.summary.last_checkpoint)
        == (1, before.summary.last_checkpoint)
    )
    assert journal.read(db, TENANT, lease.job_id, after=seq)[0] == []
    assert leases.resume_point(lease).state == b"state at 10"


def test_draining_is_no_crash_forgets_none_and_keeps_the_place_in_line(db: Database):
    first = submit(db)
    crash_once(db)
    submit(db)
    lease = claim(db)
    assert lease.job_id == first.id
    leases.give_back(lease, drained=True)
    job = jobs.get(db, TENANT, first.id)
    assert (job.status, job.crashes, job.queue.position) == ("queued", 1, 1)
    assert claim(db).job_id == first.id


def test_a_deploy_never_fails_a_job(db: Database):
    job = submit(db)
    for _ in range(10):
        leases.give_back(claim(db), drained=True)
    found = jobs.get(db, TENANT, job.id)
    assert (found.status, found.crashes, found.attempt) == ("queued", 0, 10)


@pytest.mark.parametrize("drained", [False, True])
@pytest.mark.parametrize(
    ("wishes", "status"),
    [
        ([jobs.pause], "paused"),
        ([jobs.pause, jobs.cancel], "cancelled"),
        ([jobs.cancel], "cancelled"),
        ([jobs.pause, jobs.resume], "queued"),
        ([], "queued"),
    ],
)
def test_the_users_last_word_decides_what_becomes_of_a_job_given_back(
    db: Database, wishes: list[Wish], status: str, *, drained: bool
):
    job = submit(db)
    lease = claim(db)
    for wish in wishes:
        wish(db, TENANT, job.id)
    leases.give_back(lease, drained=drained)
    found = jobs.get(db, TENANT, job.id)
    assert (found.status, found.requested) == (status, None)


def test_cancel_and_finish_at_once_leave_one_end_that_both_sides_agree_on(db: Database):
    for _ in range(40):
        job = submit(db)
        lease = claim(db)
        cancelled, finished = at_once(
            [lambda: jobs.cancel(db, TENANT, job.id), lambda: leases.end(lease, "succeeded")]  # noqa: B023
        )
        found = jobs.get(db, TENANT, job.id)
        assert finished is None  # a request that came first does not undo what was computed
        assert found.status == "succeeded"
        assert isinstance(cancelled, InvalidTransition) or cancelled.requested == "cancel"
        told, closed = journal.read(db, TENANT, job.id)
        assert closed
        assert [event.type for event in told].count("end") == 1
        assert told[-1].data == {"status": "succeeded", "error": None}


def test_cancel_and_claim_at_once_leave_no_job_that_runs_uncancelled(db: Database):
    for _ in range(40):
        job = submit(db)
        cancelled, lease = at_once(
            [lambda: jobs.cancel(db, TENANT, job.id), lambda: leases.claim(db, "w", "cpu", 60)]  # noqa: B023
        )
        assert isinstance(cancelled, Job)
        if isinstance(lease, Lease):
            assert leases.report(lease, Report()) == "cancel"
            leases.end(lease, "cancelled")
        assert jobs.get(db, TENANT, job.id).status == "cancelled"
        kinds = [event.type for event in journal.read(db, TENANT, job.id)[0]]
        assert kinds.count("end") == 1
        assert kinds[-1] == "end"


def test_six_cancels_at_once_are_one(db: Database):
    job = submit(db)
    answers = at_once([lambda: jobs.cancel(db, TENANT, job.id)] * 6)
    assert {answer.status for answer in answers} == {"cancelled"}
    assert [event.type for event in journal.read(db, TENANT, job.id)[0]] == ["queued", "end"]


def test_a_change_of_machine_is_told_and_a_change_of_worker_is_not(db: Database):
    job = submit(db)
    lease = claim(db)
    leases.declare(lease, ENVIRONMENT)
    lease = take_over(db, lease)
    leases.declare(lease, ENVIRONMENT.model_copy(update={"worker": "w2"}))
    assert "environment_changed" not in [event.type for event in journal.read(db, TENANT, job.id)[0]]
    lease = take_over(db, lease)
    leases.declare(lease, ENVIRONMENT.model_copy(update={"threads": 2}))
    told = journal.read(db, TENANT, job.id)[0][-1]
    assert told.type == "environment_changed"
    assert (told.data["before"]["threads"], told.data["now"]["threads"]) == (1, 2)
    assert jobs.get(db, TENANT, job.id).environment.threads == 2


def test_whoever_takes_a_job_over_learns_how_many_threads_it_had(db: Database):
    submit(db)
    lease = claim(db)
    assert lease.threads is None
    leases.declare(lease, ENVIRONMENT.model_copy(update={"threads": 7}))
    lease = take_over(db, lease)
    assert lease.threads == 7
    leases.declare(lease, ENVIRONMENT.model_copy(update={"threads": 1, "device": "NVIDIA H100"}))
    assert take_over(db, lease).threads is None  # a GPU's number says nothing for a CPU


def test_divergences_and_stops_after_the_checkpoint_are_forgotten_by_a_takeover_and_no_earlier_ones(
    db: Database,
):
    job = submit(db, replicas=4)
    lease = claim(db)
    early = Divergence(replica=0, step=4, loss=None, gradient_norm=1e9)
    late = Divergence(replica=1, step=14, loss=None, gradient_norm=None)
    well = Stop(replica=2, step=10, reason="early_stopping", loss=0.5)
    better = Stop(replica=3, step=14, reason="skill_reached", loss=0.1)
    saved = checkpoint(10, losses=(None, 0.25), replicas=2)
    leases.report(lease, Report(collected=[told(early)], step=9))
    leases.report(lease, Report(collected=[told(well)], checkpoint=saved, step=10))
    leases.report(lease, Report(collected=[told(late)], step=14))
    leases.report(lease, Report(collected=[told(better)], step=14))
    found = jobs.get(db, TENANT, job.id)
    assert (found.summary.diverged, found.summary.stopped_replicas) == ([early, late], [well, better])
    take_over(db, lease)
    found = jobs.get(db, TENANT, job.id)
    assert (found.summary.diverged, found.summary.stopped_replicas) == ([early], [well])
    best = found.summary.best
    assert (best.replica, best.loss, best.checkpoint) == (1, 0.25, found.summary.last_checkpoint)


def test_the_time_of_a_job_is_what_its_attempts_have_run_and_a_retry_begins_anew(db: Database):
    job_id = submit(db, max_seconds=300.0).id

    def run_for(seconds: float) -> Lease:
        lease = claim(db)
        with db.begin() as tx:
            tx.execute(text("UPDATE jobs SET claimed_at = claimed_at - :seconds"), {"seconds": seconds})
        return lease

    leases.give_back(run_for(100), drained=True)
    second = run_for(50)
    assert second.config.max_seconds == pytest.approx(200, abs=5)
    assert second.may_run is not None
    assert second.may_run.seconds == pytest.approx(200 + leases.LATE_SECONDS, abs=5)
    leases.crash(second, JobError(code="crashed", message="x"), 3)
    third = run_for(0)
    assert third.config.max_seconds == pytest.approx(150, abs=5)
    assert jobs.get(db, TENANT, job_id).config.max_seconds == 300  # what was asked for stays
    leases.end(third, "failed", error=JobError(code="time_limit", message="x"))
    jobs.retry(db, TENANT, job_id)
    assert claim(db).config.max_seconds == 300
