"""A worker and its jobs: every way in which a job can end, and what is known of it meanwhile."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from store import checkpoints, fleet, jobs, keys, leases
from tests.servers.worker import PATIENCE, TENANT, Fleet, alive, diverging_job, job
from unroll.contract import ChangeKey, Limits, NewKey, TaskData

LIMIT = 20.0
"""Ten times the two seconds in which a cancelled job stops."""


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_job_trains_to_the_bits_of_the_plain_loop_and_every_step_has_its_metrics_once(worked: Fleet) -> None:
    job_id = worked.submit(job(2000))
    worked.assert_ended_as_if_nothing_had_happened(job_id, 2000)
    ended = worked.get(job_id)
    assert ended.attempt == 1, worked.events(job_id)
    assert ended.summary.best is not None
    assert ended.summary.best.loss < ended.summary.baseline_loss
    assert ended.environment is not None
    assert ended.environment.threads == 1


def test_log_lines_are_json_with_the_job_its_attempt_and_the_trace_that_asked_for_it(worked: Fleet) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    new = dataclasses.replace(worked.checked(job(100)), traceparent=trace)
    job_id = jobs.submit(worked.db, TENANT, "key", new)[0].id
    worked.bell.ring(job_id, "cpu")
    worked.until_ended(job_id)
    log = worked._workers[0]
    wait_for(lambda: f"{job_id} succeeded" in log.log)
    lines = [json.loads(line) for line in log.log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    ours = [line for line in lines if line.get("job") == job_id]
    assert [line["message"] for line in ours] == [f"{job_id}: attempt 1", f"{job_id} succeeded"]
    told = {(line["attempt"], line["trace_id"], line["span_id"]) for line in ours}
    assert told == {(1, "a" * 32, "b" * 16)}


def test_the_supervisor_never_loads_torch(worked: Fleet) -> None:
    worked.until_ended(worked.submit(job(500)))
    worker = worked._workers[0]
    assert "libtorch" in Path(f"/proc/{worker.trainer()}/maps").read_text()
    assert "libtorch" not in Path(f"/proc/{worker.pid}/maps").read_text()


def test_the_journal_tells_the_job_in_order(worked: Fleet) -> None:
    job_id = worked.submit(job(2000))
    worked.until_ended(job_id)
    found = worked.events(job_id)
    kinds = [event.type for event in found]
    assert kinds[:2] == ["queued", "started"]
    assert kinds[-1] == "end"
    assert [event.data["step"] for event in found if event.type == "evaluation"] == [1000, 2000]
    made = [(event.data["step"], event.data["reason"]) for event in found if event.type == "checkpoint"]
    # losses fall: both evaluations are the best so far, and the last step's reason goes before
    periodic = [(step, "periodic") for step in (400, 800, 1200, 1600)]
    assert made == sorted([*periodic, (1000, "best"), (2000, "last")])
    progress = [event.data for event in found if event.type == "progress"]
    assert [at["step"] for at in progress] == sorted({at["step"] for at in progress})
    assert progress[-1]["step"] == progress[-1]["total"] == 2000
    assert progress[-1]["eta_seconds"] in (0, None)


def test_the_same_message_five_times_trains_once(worked: Fleet) -> None:
    job_id = worked.submit(job(1000), rings=5)
    assert worked.until_ended(job_id).status == "succeeded"
    time.sleep(1.0)  # messages still in the queue are heard now, after the end
    assert worked.get(job_id).attempt == 1
    assert worked.count(job_id, "started") == 1


def test_cancel_stops_a_running_job_and_ends_its_trainer(worked: Fleet) -> None:
    job_id = worked.submit(job(1_000_000))
    worked.until_step(job_id, 100)
    trainer = worked._workers[0].trainer()
    began = time.monotonic()
    jobs.cancel(worked.db, TENANT, job_id)
    ended = worked.until_ended(job_id)
    assert time.monotonic() - began < LIMIT
    assert ended.status == "cancelled"
    time.sleep(0.2)
    assert not alive(trainer)
    assert worked.get(job_id).progress.step == ended.progress.step


def test_a_paused_job_has_a_checkpoint_and_goes_on_from_it_to_the_same_bits(worked: Fleet) -> None:
    job_id = worked.submit(job(20_000))  # seconds: the pause must come before the end
    worked.until_step(job_id, 100)
    jobs.pause(worked.db, TENANT, job_id)
    paused = worked.until(job_id, lambda now: now.status == "paused")
    newest = checkpoints.list_of_job(worked.db, TENANT, job_id).data[0]
    assert newest.id == paused.summary.last_checkpoint
    assert newest.step == paused.progress.step < 20_000
    jobs.resume(worked.db, TENANT, job_id)
    worked.bell.ring(job_id, "auto")
    worked.assert_ended_as_if_nothing_had_happened(job_id, 20_000)
    assert worked.get(job_id).crashes == 0
    assert worked.count(job_id, "rewind") == 0


def test_a_job_with_a_time_limit_ends_with_an_evaluation_and_a_checkpoint(worked: Fleet) -> None:
    job_id = worked.submit(job(1_000_000, max_seconds=0.5, evaluate_every=1_000_000))
    ended = worked.until_ended(job_id)
    assert (ended.status, ended.summary.stopped) == ("succeeded", "max_seconds")
    newest = checkpoints.list_of_job(worked.db, TENANT, job_id).data[0]
    assert newest.step == ended.progress.step < 1_000_000
    assert newest.losses is not None


def test_a_job_that_runs_longer_than_its_key_allows_fails_and_keeps_its_checkpoint(worked: Fleet) -> None:
    key = keys.create(worked.db, b"s", TENANT, NewKey(name="k", limits=Limits(job_seconds=10_000))).id
    # it is estimated to end in time, but nothing says that it does
    job_id = worked.submit(job(500_000, checkpoint_every=1_000_000, evaluate_every=1_000_000), key=key)
    keys.change(worked.db, TENANT, key, ChangeKey(limits=Limits(job_seconds=1)))
    worked.bell.ring(job_id, "auto")
    ended = worked.until_ended(job_id)
    assert ended.error is not None
    assert (ended.status, ended.error.code) == ("failed", "time_limit")
    assert "job_seconds of its key, 1 s" in ended.error.message
    newest = checkpoints.list_of_job(worked.db, TENANT, job_id).data[0]
    assert newest.id == ended.error.checkpoint
    assert 0 < newest.step == ended.progress.step < 500_000
    keys.change(worked.db, TENANT, key, ChangeKey(limits=Limits(job_seconds=None)))
    jobs.retry(worked.db, TENANT, job_id)  # with its time anew, and from where it stopped
    worked.bell.ring(job_id, "auto")
    running = worked.until(job_id, lambda now: now.progress.step > newest.step)
    assert running.attempt == 2
    jobs.cancel(worked.db, TENANT, job_id)
    worked.until_ended(job_id)


def test_the_time_of_a_job_counts_over_all_its_attempts(worked: Fleet) -> None:
    job_id = worked.submit(job(10_000_000, max_seconds=2.0, evaluate_every=10_000_000))
    worked.until_step(job_id, 100)
    jobs.pause(worked.db, TENANT, job_id)
    worked.until(job_id, lambda now: now.status == "paused")
    with worked.db.begin() as tx:  # as if it had run for nearly all its time
        tx.execute(text("UPDATE jobs SET ran_seconds = 1.9 WHERE id = :id"), {"id": job_id})
    jobs.resume(worked.db, TENANT, job_id)
    lease = None
    while lease is None and worked.get(job_id).status == "queued":
        lease = leases.claim(worked.db, "nobody", "cpu", 60.0)
    if lease is not None:  # otherwise the worker has heard of it first, and has done the same
        assert lease.config.max_seconds == pytest.approx(0.1)
        assert lease.may_run is not None
        assert lease.may_run.seconds < 10
        leases.give_back(lease, drained=True)
        worked.bell.ring(job_id, "auto")
    ended = worked.until_ended(job_id)
    assert (ended.status, ended.summary.stopped) == ("succeeded", "max_seconds")


def test_a_job_that_would_store_more_than_its_key_may_fails_and_keeps_what_it_has(worked: Fleet) -> None:
    key = keys.create(worked.db, b"s", TENANT, NewKey(name="k", limits=Limits(stored_bytes=20_000))).id
    job_id = worked.submit(job(100_000, checkpoint_every=10), key=key)
    ended = worked.until_ended(job_id)
    assert ended.error is not None
    assert (ended.status, ended.error.code) == ("failed", "quota_exceeded")
    assert "20,000 bytes" in ended.error.message
    kept = checkpoints.list_of_job(worked.db, TENANT, job_id).data
    assert ended.error.checkpoint == kept[0].id


def test_a_job_whose_replicas_all_diverge_fails_and_names_the_last_good_checkpoint(worked: Fleet) -> None:
    job_id = worked.submit(diverging_job())
    ended = worked.until_ended(job_id)
    assert ended.status == "failed"
    error = ended.error
    assert error is not None
    assert error.code == "all_replicas_diverged"
    assert "clip them by global norm" in error.message
    assert ended.summary.diverged[-1].hint in error.message
    made = checkpoints.list_of_job(worked.db, TENANT, job_id).data
    assert error.checkpoint == made[0].id == ended.summary.last_checkpoint
    assert made[0].step < (error.step or 0)
    assert {one.replica for one in ended.summary.diverged} == {0, 1}
    assert "diverged" in (error.log or "")
    (end,) = (event.data["error"] for event in worked.events(job_id) if event.type == "end")
    assert end == {**error.model_dump(), "log": None}  # who reads the events learns of the checkpoint too
    told = [event.data for event in worked.events(job_id) if event.type == "replica_diverged"]
    assert [one["replica"] for one in told] == [one.replica for one in ended.summary.diverged]


def test_an_exception_in_training_fails_the_job_with_the_end_of_its_log(worked: Fleet) -> None:
    job_id = worked.submit(job(name="raising"))
    ended = worked.until_ended(job_id)
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error.code == "training_error"
    assert "RuntimeError: asked to fail" in ended.error.message
    assert "Traceback" in (ended.error.log or "")
    assert ended.attempt == 1  # it would fail again


def test_a_poison_job_fails_after_max_crashes_attempts_with_the_cause_and_others_run(worked: Fleet) -> None:
    poison = worked.submit(job(name="poison", priority=10))
    other = worked.submit(job(500))
    ended = worked.until_ended(poison)
    assert (ended.status, ended.attempt, ended.crashes) == ("failed", 3, 3)
    assert ended.error is not None
    assert ended.error.code == "crashed"
    assert "SIGKILL" in ended.error.message
    assert worked.count(poison, "started") == worked.count(poison, "interrupted") == 3
    assert worked.until_ended(other).status == "succeeded"


def test_a_trainer_that_is_stuck_in_native_code_is_ended_and_counts_as_a_crash(worked: Fleet) -> None:
    job_id = worked.submit(job(name="hanging"))
    ended = worked.until_ended(job_id)
    assert (ended.status, ended.crashes) == ("failed", 3)
    assert ended.error is not None
    assert ended.error.code == "stalled"


def test_a_step_that_takes_longer_than_a_stall_is_no_stall_while_its_parts_go_on(worked: Fleet) -> None:
    """An evaluation of 21 parts, each of which a fault makes slow."""
    long = TaskData(name="integrate_noise", parameters={"length": 2000})
    slow = job(1, name="slow", data=long, held_out={"size": 2100, "seed": 0})
    ended = worked.until_ended(worked.submit(slow))
    assert (ended.status, ended.attempt, ended.crashes) == ("succeeded", 1, 0), ended.error
    assert ended.started_at is not None
    assert ended.ended_at is not None
    assert (ended.ended_at - ended.started_at).total_seconds() > 1.5 * worked.settings.stall_seconds


def test_memory_that_runs_out_fails_the_job_and_leaves_the_worker_alive(worked: Fleet) -> None:
    # Training holds its memory from the start; there is no room for a checkpoint of eight large networks.
    large = {"hidden_size": 1000}
    hungry = job(3, name="hungry", batch_size=2, replicas=8, cell=large, held_out={"size": 2, "seed": 0})
    ended = worked.until_ended(worked.submit(hungry))
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error.code == "out_of_memory"
    assert ended.attempt == 1  # it would run out again
    assert worked.until_ended(worked.submit(job(500))).status == "succeeded"


def test_the_worker_is_listed_with_the_job_that_it_runs(worked: Fleet) -> None:
    job_id = worked.submit(job(1_000_000))
    worked.until_step(job_id, 1)
    deadline = time.monotonic() + LIMIT
    while True:
        (worker,) = fleet.list_workers(worked.db, TENANT, alive_seconds=3.0)
        if worker.job == job_id:
            break
        assert time.monotonic() < deadline, worker
        time.sleep(0.05)
    assert worker.alive
    assert worker.busy
    jobs.cancel(worked.db, TENANT, job_id)
    worked.until_ended(job_id)


@pytest.mark.parametrize("log_every", [7, 10_000])
def test_progress_and_liveness_do_not_depend_on_how_often_metrics_are_logged(worked: Fleet, log_every: int) -> None:
    job_id = worked.submit(job(1_000_000, log_every=log_every))
    seen = worked.until_step(job_id, 500)
    assert seen.progress.step >= 500
    jobs.cancel(worked.db, TENANT, job_id)
    worked.until_ended(job_id)
    assert all(math.isfinite(loss) for loss in seen.summary.loss or [])
