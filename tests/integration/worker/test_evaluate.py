"""Evaluate jobs on a real worker: what they find, and that they can be stopped, interrupted and run again."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from store import artifacts, checkpoints, jobs
from tests.servers.worker import TENANT, Fleet, job
from unroll.contract import Checkpoint, EvaluateJob, EvaluateSummary, Job

STALL_SECONDS = 2.5
"""That of `worked`."""
LONG: dict[str, Any] = {"lengths": list(range(101, 201)), "sequences": 8192, "seed": 3}
"""Some seconds of work in many small parts: longer than a stall."""


@pytest.fixture(scope="module")
def trained(worked: Fleet) -> Checkpoint:
    """The last checkpoint of a train job of two replicas on sequences of 20 steps."""
    ended = worked.until_ended(worked.submit(job(400)))
    assert ended.status == "succeeded", ended.error
    return checkpoints.get(worked.db, TENANT, ended.summary.last_checkpoint)


def result(worked: Fleet, job_id: str) -> dict[str, Any]:
    """The content of the job's one artifact."""
    (made,) = artifacts.list_of_job(worked.db, TENANT, job_id)
    assert (made.name, made.media_type) == ("result.json", "application/json")
    return json.loads(artifacts.content(worked.db, TENANT, job_id, made.name, made.sha256))


def evaluated(worked: Fleet, config: EvaluateJob) -> tuple[Job, dict[str, Any]]:
    ended = worked.until_ended(worked.submit(config))
    assert ended.status == "succeeded", ended.error
    return ended, result(worked, ended.id)


def test_on_the_held_out_set_of_the_training_the_losses_are_those_of_the_checkpoint_to_the_bit(
    worked: Fleet, trained: Checkpoint
) -> None:
    held_out = worked.get(trained.job).config.training.held_out
    config = EvaluateJob(checkpoint=trained.id, sequences=held_out.size, seed=held_out.seed)
    ended, found = evaluated(worked, config)
    assert found["losses"] == trained.losses
    assert (found["sequences"], found["replicas"], found["by_length"]) == (512, [0, 1], [])
    baseline = worked.get(trained.job).summary.baseline_loss
    assert found["baseline"] == baseline
    losses = np.array(trained.losses)
    np.testing.assert_array_equal(found["skill"], 1 - losses / baseline)
    assert (found["mean"], found["sd"]) == (losses.mean(), losses.std(ddof=1))
    half = student.ppf(0.975, 1) * losses.std(ddof=1) / np.sqrt(2)
    np.testing.assert_allclose(found["ci95"], [losses.mean() - half, losses.mean() + half], rtol=1e-12)

    assert ended.summary == EvaluateSummary(
        parameters=141,
        baseline_loss=baseline,
        loss=found["mean"],
        sd=found["sd"],
        ci95=found["ci95"],
        skill=1 - found["mean"] / baseline,
        estimated_seconds=ended.summary.estimated_seconds,
    )
    assert (ended.parent, ended.attempt, ended.crashes) == (trained.job, 1, 0)
    assert ended.environment is not None
    assert (ended.progress.step, ended.progress.total) == (512, 512)
    kinds = [event.type for event in worked.events(ended.id)]
    assert [kind for kind in kinds if kind != "progress"] == ["queued", "started", "artifact", "end"]
    assert checkpoints.list_of_job(worked.db, TENANT, ended.id).data == []


def test_one_replica_has_no_spread_and_other_sequences_give_other_losses(worked: Fleet, trained: Checkpoint) -> None:
    _, best = evaluated(worked, EvaluateJob(checkpoint=trained.id, replica="best", seed=0))
    assert best["replicas"] == [trained.best_replica]
    np.testing.assert_allclose(best["losses"], [trained.losses[trained.best_replica]], rtol=1e-5)
    assert (best["sd"], best["ci95"], best["mean"]) == (None, None, best["losses"][0])
    _, other = evaluated(worked, EvaluateJob(checkpoint=trained.id, replica=1))
    assert other["replicas"] == [1]
    assert other["losses"][0] != trained.losses[1]


def test_lengths_give_a_curve_whose_point_at_the_length_of_the_data_is_the_loss_itself(
    worked: Fleet, trained: Checkpoint
) -> None:
    ended, found = evaluated(worked, EvaluateJob(checkpoint=trained.id, lengths=[40, 20, 100]))
    assert [point["length"] for point in found["by_length"]] == [40, 20, 100]
    assert [point["baseline"] for point in found["by_length"]] == [20.5, 10.5, 50.5]
    assert found["by_length"][1]["losses"] == found["losses"]
    assert found["by_length"][2]["losses"][0] > found["by_length"][0]["losses"][0] > found["losses"][0]
    assert (ended.progress.step, ended.progress.total) == (4 * 512, 4 * 512)


def test_a_cancelled_evaluation_stops_in_the_middle_and_leaves_no_artifact(worked: Fleet, trained: Checkpoint) -> None:
    job_id = worked.submit(EvaluateJob(checkpoint=trained.id, **LONG))
    worked.until_step(job_id, 1)
    jobs.cancel(worked.db, TENANT, job_id)
    ended = worked.until_ended(job_id)
    assert ended.status == "cancelled"
    assert 0 < ended.progress.step < ended.progress.total
    assert artifacts.list_of_job(worked.db, TENANT, job_id) == []


def test_paused_then_killed_and_longer_than_a_stall_it_comes_to_the_result_of_an_undisturbed_run(
    worked: Fleet, trained: Checkpoint
) -> None:
    job_id = worked.submit(EvaluateJob(checkpoint=trained.id, **LONG))
    worked.until_step(job_id, 1)
    jobs.pause(worked.db, TENANT, job_id)
    paused = worked.until(job_id, lambda now: now.status == "paused")
    assert 0 < paused.progress.step < paused.progress.total
    assert paused.crashes == 0
    jobs.resume(worked.db, TENANT, job_id)
    worked.bell.ring(job_id, "auto")
    worked.until(job_id, lambda now: now.attempt == 2 and now.status == "running" and now.progress.step > 0)
    os.kill(worked._workers[0].trainer(), signal.SIGKILL)
    worked.until(job_id, lambda now: now.attempt == 3)
    ended = worked.until_ended(job_id)
    assert (ended.status, ended.attempt, ended.crashes) == ("succeeded", 3, 1)
    found = result(worked, job_id)
    few = {**LONG, "lengths": [101, 150, 200]}
    _, undisturbed = evaluated(worked, EvaluateJob(checkpoint=trained.id, **few))
    assert found["losses"] == undisturbed["losses"]
    assert [point for point in found["by_length"] if point["length"] in few["lengths"]] == undisturbed["by_length"]
    assert [point["length"] for point in found["by_length"]] == LONG["lengths"]
    told = worked.events(job_id)
    assert [event.data["to_step"] for event in told if event.type == "rewind"] == [0, 0]
    (last_start,) = [event.time for event in told if event.type == "started"][2:]
    seconds = (told[-1].time - last_start).total_seconds()
    assert seconds > STALL_SECONDS  # else this shows nothing of a stall
