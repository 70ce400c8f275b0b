"""How a job ends before its last step, what it keeps, and what it says meanwhile."""

from __future__ import annotations

from store import checkpoints
from tests.servers.worker import TENANT, Fleet, job
from unroll.contract import EarlyStopping


def test_a_job_that_reaches_its_skill_succeeds_early_and_names_each_replicas_stop(worked: Fleet) -> None:
    job_id = worked.submit(job(100_000, stop_at_skill=0.9, evaluate_every=50))
    ended = worked.until_ended(job_id)
    assert (ended.status, ended.summary.stopped) == ("succeeded", "skill_reached")
    assert ended.progress.step < 100_000
    stops = ended.summary.stopped_replicas
    assert {stop.replica for stop in stops} == {0, 1}
    assert all(1 - stop.loss / ended.summary.baseline_loss >= 0.9 for stop in stops if stop.loss is not None)
    assert stops[-1].step == ended.progress.step
    told = [event.data for event in worked.events(job_id) if event.type == "replica_stopped"]
    assert told == [stop.model_dump(mode="json") for stop in stops]
    newest = checkpoints.list_of_job(worked.db, TENANT, job_id).data[0]
    assert (newest.step, newest.reason, newest.id) == (ended.progress.step, "last", ended.summary.last_checkpoint)


def test_a_job_that_improves_no_more_succeeds_early_with_its_best_network(worked: Fleet) -> None:
    rules = EarlyStopping(patience=2, min_delta=100.0)  # after the first evaluation nothing is an improvement
    job_id = worked.submit(job(100_000, early_stopping=rules, evaluate_every=50))
    ended = worked.until_ended(job_id)
    assert (ended.status, ended.summary.stopped, ended.progress.step) == ("succeeded", "early_stopping", 150)
    losses = {e.data["step"]: min(e.data["loss"]) for e in worked.events(job_id) if e.type == "evaluation"}
    assert list(losses) == [50, 100, 150]
    assert ended.summary.best is not None
    assert ended.summary.best.loss == min(losses.values())
