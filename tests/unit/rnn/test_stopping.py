"""Each replica stops by itself: for want of improvement, or with the skill that was asked for."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load, save

from rnn.data.tasks.integrate_noise import IntegrateNoise
from rnn.errors import ConfigurationError
from rnn.events import Checkpoint, Metrics
from rnn.networks.weights import load_weights
from rnn.training import stopping
from rnn.training.events import Diverged, Done, Evaluation, Stopped
from rnn.training.problem import Problem
from rnn.training.resume import load_state
from rnn.training.stopping import Stopping
from rnn.training.validation import validate
from tests.unit.rnn.jobs import bits, job, last_checkpoint, only, run
from unroll.contract import SGD, Adam, EarlyStopping, Training, TrainJob

FOREVER = 10**6


def learning(**fields: Any) -> TrainJob:
    """Some replicas reach a skill of 0.9 here, at steps of their own."""
    defaults = {"steps": 400, "replicas": 4, "length": 8, "batch_size": 16, "evaluate_every": 10}
    return job(**(defaults | {"optimizer": Adam(lr=0.02), "checkpoint_every": 30} | fields))


def judged(patience: int, *evaluations: list[float], min_delta: float = 0.0) -> list[tuple[int, int]]:
    """(step, replica) of all stops in a made-up course of held-out losses, one step an evaluation."""
    R = len(evaluations[0])
    rules = EarlyStopping(patience=patience, min_delta=min_delta)
    some = Problem.of(job(steps=FOREVER, evaluate_every=1, replicas=R, early_stopping=rules))
    so_far, stops = Stopping.none(R), []
    for step, losses in enumerate(evaluations, 1):
        now = stopping.judge(some, so_far, step, np.array(losses), np.zeros(R, bool))
        stops += [(step, int(r)) for r in now]
    return stops


def test_a_replica_stops_after_as_many_evaluations_without_improvement_as_it_may_wait():
    falling, stuck, late = [5, 4, 3, 2, 1, 0.5], [5, 5, 5, 5, 5, 5], [5, 6, 4, 4, 4, 4]
    assert judged(3, *map(list, zip(falling, stuck, late, strict=True))) == [(4, 1), (6, 2)]


def test_an_improvement_is_more_than_min_delta_below_the_last_one_that_was():
    creeping = [[1.0 - 0.04 * n] for n in range(8)]
    assert judged(3, *creeping, min_delta=0.1) == []  # each third evaluation is 0.12 lower
    assert judged(3, *creeping, min_delta=0.13) == [(4, 0)]


def test_a_loss_that_is_not_finite_is_no_improvement():
    assert judged(2, [np.inf, 2.0], [np.nan, np.nan], [1.0, np.inf]) == [(2, 0), (3, 1)]


def test_every_replica_stops_at_the_first_evaluation_with_the_skill_and_the_job_ends_with_the_last():
    whole = learning(stop_at_skill=0.9)
    events = run(whole)
    stops = {stop.replica: stop for stop in only(Stopped, events)}
    assert set(stops) == set(range(4))
    assert len({stop.step for stop in stops.values()}) > 1, "a job where all stop at once shows too little"
    baseline = Problem.of(whole).baseline_loss
    for evaluation in only(Evaluation, events):
        for r, stop in stops.items():
            reached = 1 - evaluation.loss[r] / baseline >= 0.9
            assert evaluation.step != stop.step or reached
            assert evaluation.step >= stop.step or not reached
            assert evaluation.step < stop.step or evaluation.loss[r] == stop.loss  # it goes on being evaluated
    last = max(stop.step for stop in stops.values())
    assert events[-1] == Done(last, "skill_reached")
    assert (last_checkpoint(events).step, last_checkpoint(events).reason) == (last, "last")


def test_a_stopped_replica_keeps_its_weights_and_the_others_train_as_if_it_were_none():
    events, free = run(learning(stop_at_skill=0.9)), run(learning())
    first = only(Stopped, events)[0]
    rows = {
        load_weights(c.weights).flat()[first.replica].tobytes()
        for c in only(Checkpoint, events)
        if c.step >= first.step
    }
    assert len(rows) == 1
    losses = {m.step: m.values["loss"] for m in only(Metrics, events)}
    unstopped = {m.step: m.values["loss"] for m in only(Metrics, free)}
    when = {stop.replica: stop.step for stop in only(Stopped, events)}
    for step, values in losses.items():
        for r in range(4):
            assert np.isnan(values[r]) if step > when[r] else values[r] == unstopped[step][r]


def test_early_stopping_ends_the_run_and_the_best_checkpoint_is_of_before_it():
    # The rate is so large that the loss soon goes up and down without an aim.
    events = run(learning(optimizer=Adam(lr=0.3), early_stopping=EarlyStopping(patience=3)))
    assert events[-1].outcome == "early_stopping"
    assert events[-1].step < 400
    evaluations = {e.step: e.loss for e in only(Evaluation, events)}
    for stop in only(Stopped, events):
        before = [evaluations[s][stop.replica] for s in sorted(evaluations) if s <= stop.step]
        assert int(np.argmin(before)) == len(before) - 1 - 3
    best = min(loss.min() for loss in evaluations.values())
    rated = [c for c in only(Checkpoint, events) if c.losses and c.losses[c.best_replica] == best]
    assert rated[0].reason == "best"
    assert load_state(last_checkpoint(events).state).best.step == rated[0].step


def test_a_run_of_which_some_stop_and_the_rest_diverge_ends_well():
    # Of these some never leave the finite numbers, nor learn.
    whole = job(
        steps=2000,
        replicas=6,
        length=12,
        hidden=3,
        activation="identity",
        optimizer=SGD(lr=0.02),
        evaluate_every=20,
        early_stopping=EarlyStopping(patience=4, min_delta=0.01),
    )
    events = run(whole)
    dead, stopped = {d.replica for d in only(Diverged, events)}, {s.replica for s in only(Stopped, events)}
    assert dead
    assert stopped
    assert not dead & stopped
    assert dead | stopped == set(range(6))
    last = last_checkpoint(events)
    assert (events[-1].outcome, last.reason, last.step) == ("early_stopping", "last", events[-1].step)
    assert last.losses is not None


@pytest.mark.parametrize(
    "rule",
    [
        {"stop_at_skill": 0.9},
        {"optimizer": Adam(lr=0.3), "early_stopping": EarlyStopping(patience=3)},
        {"optimizer": Adam(lr=0.05), "early_stopping": EarlyStopping(patience=2), "stop_at_skill": 0.95},
    ],
)
def test_a_run_that_stops_resumes_bit_for_bit_from_each_of_its_checkpoints(rule: dict[str, Any]):
    whole = learning(**rule)
    reference = run(whole)
    first = only(Stopped, reference)[0].step
    made = only(Checkpoint, reference)
    assert any(c.step >= first for c in made[:-1])
    for checkpoint in made:
        resumed = run(whole, resume=(checkpoint.weights, checkpoint.state))
        expected = [event for event in reference if event.step > checkpoint.step]
        if checkpoint is made[-1]:  # its end was lost, and is said again
            expected = reference[-1:]
        assert [bits(event) for event in resumed] == [bits(event) for event in expected]


def test_a_run_preempted_at_the_evaluation_that_stops_a_replica_goes_on_as_it_would_have():
    whole = learning(stop_at_skill=0.9)
    reference = run(whole)
    step = only(Stopped, reference)[0].step
    asked = itertools.count(1)
    begun = run(whole, preempt=lambda _step: next(asked) >= step)
    checkpoint = last_checkpoint(begun)
    assert checkpoint.step == step
    resumed = run(whole, resume=(checkpoint.weights, checkpoint.state))
    assert [bits(e) for e in resumed] == [bits(e) for e in reference if e.step > step]


def test_a_state_of_before_there_was_stopping_is_read():
    whole = learning(steps=40, replicas=2)
    reference = run(whole)
    checkpoint = next(c for c in only(Checkpoint, reference) if c.step == 30)
    header = 8 + int.from_bytes(checkpoint.state[:8], "little")
    about = json.loads(checkpoint.state[8:header])["__metadata__"]
    old = {name: tensor for name, tensor in load(checkpoint.state).items() if not name.startswith("stopping.")}
    resumed = run(whole, resume=(checkpoint.weights, save(old, about)))
    assert [bits(e) for e in resumed] == [bits(e) for e in reference if e.step > 30]


def test_a_rule_that_could_never_stop_the_run_is_refused_with_the_reason():
    validate(Problem.of(job(steps=401, evaluate_every=100, early_stopping=EarlyStopping(patience=3))))
    with pytest.raises(ConfigurationError, match="3 more every 100 steps end at step 400; the run has 400 steps"):
        validate(Problem.of(job(steps=400, evaluate_every=100, early_stopping=EarlyStopping(patience=3))))
    with pytest.raises(ConfigurationError, match="measured every 100 steps"):
        validate(Problem.of(job(steps=100, evaluate_every=100, stop_at_skill=0.5)))
    for skill in (0.0, 1.0, 1.5):
        with pytest.raises(ValidationError):
            Training(steps=10, stop_at_skill=skill)


def test_a_skill_to_reach_needs_a_baseline_that_is_positive(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(IntegrateNoise, "baseline_loss", lambda *_: -0.5)
    with pytest.raises(ConfigurationError, match="no positive baseline loss") as error:
        validate(Problem.of(job(steps=100, evaluate_every=10, stop_at_skill=0.5)))
    assert error.value.pointer == "/training/stop_at_skill"
