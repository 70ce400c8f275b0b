"""Training as a list of events."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from rnn.data import tasks
from rnn.errors import CheckpointError, ConfigurationError
from rnn.events import Checkpoint, Metrics
from rnn.networks import parameters
from rnn.networks.weights import load_weights
from rnn.training.events import Diverged, Done, Evaluation
from rnn.training.problem import Problem
from rnn.training.resume import load_state
from rnn.training.run import train
from tests.unit.rnn.jobs import bits, job, last_checkpoint, only, run
from unroll.contract import SGD, Adam, ClipByGlobalNorm, DType, Network

OPTIMIZERS = [Adam(lr=0.01), SGD(lr=0.05), SGD(lr=0.02, momentum=0.9)]
EXPLODING = {"activation": "identity", "optimizer": SGD(lr=0.02), "length": 12, "hidden": 3}
"""Some replicas of this job leave the finite numbers, at different steps; some never do."""


def partly_diverging(**fields: Any):
    """A job whose replicas 0 … 5 diverge or live, by their own seeds."""
    return job(**({"steps": 60, "replicas": 6, "evaluate_every": 20, "checkpoint_every": 25} | EXPLODING | fields))


def test_events_of_a_run_come_at_the_steps_and_in_the_order_that_are_promised():
    events = run(job(steps=7, evaluate_every=3, checkpoint_every=2, log_every=2, replicas=2))
    steps = {kind: [e.step for e in only(kind, events)] for kind in (Metrics, Evaluation, Checkpoint, Done)}
    assert steps[Metrics] == [2, 4, 6, 7]
    assert steps[Evaluation] == [3, 6, 7]
    assert set(steps[Checkpoint]) >= {2, 4, 6, 7}
    assert len(set(steps[Checkpoint])) == len(steps[Checkpoint])
    assert events[-1] == Done(7, "completed")
    rank = {Metrics: 0, Diverged: 1, Evaluation: 2, Checkpoint: 3, Done: 4}
    order = [(event.step, rank[type(event)]) for event in events]
    assert order == sorted(order)


def test_a_checkpoint_says_why_it_was_made_and_carries_the_losses_of_its_step():
    events = run(job(steps=40, evaluate_every=10, checkpoint_every=15, replicas=3))
    evaluations = {e.step: e for e in only(Evaluation, events)}
    assert evaluations[10].improved
    for checkpoint in only(Checkpoint, events):
        evaluation = evaluations.get(checkpoint.step)
        if evaluation is None:
            assert checkpoint.losses is None
            assert checkpoint.best_replica is None
            assert checkpoint.reason == "periodic"
        else:
            assert checkpoint.losses == tuple(evaluation.loss)
            assert checkpoint.best_replica == int(np.argmin(evaluation.loss))
            assert checkpoint.reason == (
                "last" if checkpoint.step == 40 else "best" if evaluation.improved else "periodic"
            )
    lowest = np.inf
    for evaluation in evaluations.values():
        assert evaluation.improved == (evaluation.loss.min() < lowest)
        lowest = min(lowest, evaluation.loss.min())


def test_metrics_of_a_step_are_of_the_parameters_before_its_update():
    one = job(steps=1, replicas=2, dtype="float64")
    metrics = only(Metrics, run(one))[0]
    start = parameters.views(parameters.initialise(one.model, one.seed, 2, "float64"), one.model)
    for r in range(2):
        batch = tasks.resolve(one.data).batch(one.seed, r, 1, one.training.batch_size)
        x, target = batch.x_RTBI[0], batch.target_RTBO[0]
        h = np.zeros((4, 5))
        losses = []
        for x_t, target_t in zip(x.astype(float), target.astype(float), strict=True):
            h = np.tanh(
                x_t @ start["layers.0.W_xh"][r].T
                + start["layers.0.b_x"][r]
                + h @ start["layers.0.W_hh"][r].T
                + start["layers.0.b_h"][r]
            )
            losses.append((h @ start["readout.W_hy"][r].T + start["readout.b_y"][r] - target_t) ** 2)
        assert metrics.values["loss"][r] == pytest.approx(np.mean(losses), rel=1e-6)


def test_adam_updates_are_those_of_torch_optim_on_the_same_gradients():
    import torch

    from rnn.training.optimisers import Optimizer

    start, generator = np.random.default_rng(0).standard_normal((3, 7)), np.random.default_rng(1)
    for config, reference in (
        (Adam(lr=0.02, beta1=0.8, beta2=0.99, eps=1e-6), lambda p: torch.optim.Adam(p, 0.02, (0.8, 0.99), 1e-6)),
        (SGD(lr=0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (SGD(lr=0.1, momentum=0.9), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    ):
        ours = Optimizer(config, start, torch.device("cpu"))
        theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
        optimizer = reference([theirs])
        for _ in range(5):
            gradient = torch.from_numpy(generator.standard_normal((3, 7)))
            theirs.grad = gradient.clone()
            optimizer.step()
            assert not ours.step(gradient, np.zeros(3, bool)).any()
        torch.testing.assert_close(ours.parameters, theirs.detach(), rtol=1e-12, atol=1e-12)


def test_clipping_limits_the_update_and_reports_the_norm_before_it():
    free, clipped = (
        run(job(steps=1, replicas=3, optimizer=SGD(lr=1.0), clip=clip, dtype="float64"))
        for clip in (None, ClipByGlobalNorm(max_norm=0.01))
    )
    norms = only(Metrics, free)[0].values["gradient_norm"]
    assert np.array_equal(norms, only(Metrics, clipped)[0].values["gradient_norm"])
    assert (norms > 0.01).all()
    start = parameters.initialise(job().model, 0, 3, "float64")
    for events, expected in ((free, norms), (clipped, [0.01] * 3)):
        moved = np.linalg.norm(load_weights(last_checkpoint(events).weights).flat() - start, axis=1)
        np.testing.assert_allclose(moved, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("optimizer", "clip", "dtype"),
    list(itertools.product(OPTIMIZERS, [None, ClipByGlobalNorm(max_norm=0.3)], ["float32", "float64"])),
)
def test_a_resumed_run_equals_one_that_never_stopped_bit_for_bit(
    optimizer: Adam | SGD, clip: ClipByGlobalNorm | None, dtype: DType
):
    whole = job(steps=25, evaluate_every=4, checkpoint_every=7, replicas=3, optimizer=optimizer, clip=clip, dtype=dtype)
    reference = run(whole)
    for checkpoint in only(Checkpoint, reference)[:-1]:
        resumed = run(whole, resume=(checkpoint.weights, checkpoint.state))
        expected = [event for event in reference if event.step > checkpoint.step]
        assert [bits(event) for event in resumed] == [bits(event) for event in expected]


@pytest.mark.parametrize("optimizer", [SGD(lr=0.02), SGD(lr=0.02, momentum=0.5)])
def test_a_run_with_a_diverged_replica_resumes_bit_for_bit(optimizer: Adam | SGD):
    whole = partly_diverging(optimizer=optimizer)
    reference = run(whole)
    diverged = only(Diverged, reference)
    assert diverged
    after = [c for c in only(Checkpoint, reference) if c.step >= diverged[0].step][:-1]
    assert after
    for checkpoint in after:
        resumed = run(whole, resume=(checkpoint.weights, checkpoint.state))
        expected = [event for event in reference if event.step > checkpoint.step]
        assert [bits(event) for event in resumed] == [bits(event) for event in expected]


def test_a_state_that_calls_diverged_replicas_frozen_resumes_bit_for_bit():
    whole = partly_diverging()
    reference = run(whole)
    checkpoint = next(c for c in only(Checkpoint, reference) if c.step >= only(Diverged, reference)[0].step)
    header = 8 + int.from_bytes(checkpoint.state[:8], "little")
    about = json.loads(checkpoint.state[8:header])["__metadata__"]
    now = load(checkpoint.state)
    old = {name.replace("diverged.", "frozen."): tensor for name, tensor in now.items()}
    assert old.keys() & now.keys() == now.keys() - {"diverged.step", "diverged.loss", "diverged.gradient_norm"}
    resumed = run(whole, resume=(checkpoint.weights, save(old, about)))
    assert [bits(e) for e in resumed] == [bits(e) for e in reference if e.step > checkpoint.step]


def test_preempting_at_any_step_and_resuming_changes_no_later_event():
    whole = job(steps=12, evaluate_every=5, checkpoint_every=4, replicas=2)
    reference = run(whole)
    for stop in (1, 4, 5, 11):
        asked = itertools.count(1)
        first = run(whole, preempt=lambda _step, asked=asked, stop=stop: next(asked) >= stop)
        assert first[-1] == Done(stop, "preempted")
        checkpoint = first[-2]
        assert isinstance(checkpoint, Checkpoint)
        due = any(c.step == stop for c in only(Checkpoint, reference))
        assert (checkpoint.reason == "interrupted") == (not due)
        second = run(whole, resume=(checkpoint.weights, checkpoint.state))
        together = [bits(e) for e in first[:-1] if getattr(e, "reason", "") != "interrupted"] + [
            bits(e) for e in second
        ]
        assert together == [bits(event) for event in reference]


def test_preemption_is_asked_once_a_step():
    asked = []
    run(job(steps=6), preempt=lambda _step: bool(asked.append(1)))
    assert len(asked) == 5  # at the last step the run ends anyway


def test_resuming_at_the_last_step_only_says_that_it_is_done():
    whole = job(steps=3)
    checkpoint = last_checkpoint(run(whole))
    assert run(whole, resume=(checkpoint.weights, checkpoint.state)) == [Done(3, "completed")]


def test_a_run_out_of_time_ends_with_an_evaluation_and_a_last_checkpoint():
    events = run(job(steps=10**6, evaluate_every=10**5, max_seconds=1e-6))
    assert [type(event) for event in events] == [Metrics, Evaluation, Checkpoint, Done]
    assert events[2].reason == "last"
    assert events[3] == Done(1, "max_seconds")


def test_a_diverging_replica_rests_before_its_update_and_the_others_train_on():
    whole = partly_diverging()
    events = run(whole)
    diverged = only(Diverged, events)
    dead = {d.replica: d.step for d in diverged}
    assert 0 < len(dead) < 6, "the job must be one where some diverge and some live"
    assert len(diverged) == len(dead)
    losses = {m.step: m.values["loss"] for m in only(Metrics, events)}
    for d in diverged:
        assert not (np.isfinite(d.loss) and np.isfinite(d.gradient_norm))
        for step, values in losses.items():
            assert np.isnan(values[d.replica]) == (step > d.step or (step == d.step and np.isnan(d.loss)))
    for evaluation in only(Evaluation, events):
        assert [np.isnan(loss) for loss in evaluation.loss] == [dead.get(r, 99) <= evaluation.step for r in range(6)]
    assert events[-1] == Done(60, "completed")


def test_parameters_and_moments_of_a_diverged_replica_do_not_change_any_more():
    events = run(partly_diverging(optimizer=SGD(lr=0.02, momentum=0.5)))
    first = only(Diverged, events)[0]
    after = [c for c in only(Checkpoint, events) if c.step >= first.step]
    assert len(after) > 1
    for saved in (lambda c: load_weights(c.weights).flat(), lambda c: load_state(c.state).moments["momentum_buffer"]):
        rows = {saved(checkpoint)[first.replica].tobytes() for checkpoint in after}
        assert len(rows) == 1
    recorded = load_state(after[-1].state).diverged
    assert recorded.step[first.replica] == first.step


def test_survivors_are_what_they_would_have_been_with_every_other_replica_well(monkeypatch: pytest.MonkeyPatch):
    """The same stack, with and without a neighbour that diverges: the survivors' bits are equal."""
    events = run(partly_diverging())
    dead = {d.replica for d in only(Diverged, events)}
    alive = [r for r in range(6) if r not in dead]
    healthy = parameters.initialise

    def with_quiet_neighbours(network: Network, seed: int, replicas: int, dtype: DType):
        start = healthy(network, seed, replicas, dtype)
        start[list(dead)] = 0  # a network of zeros learns only its readout bias and never diverges
        return start

    monkeypatch.setattr(parameters, "initialise", with_quiet_neighbours)
    without = run(partly_diverging())
    assert not only(Diverged, without)
    ours, theirs = (load_weights(last_checkpoint(e).weights).flat()[alive] for e in (events, without))
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("optimizer", [SGD(lr=1e20), SGD(lr=1e30), Adam(lr=1e20), Adam(lr=1e30)])
def test_weights_in_every_checkpoint_are_finite_whatever_the_learning_rate(optimizer: Adam | SGD):
    events = run(job(steps=30, replicas=2, optimizer=optimizer, checkpoint_every=1, evaluate_every=3))
    checkpoints = only(Checkpoint, events)
    for checkpoint in checkpoints:
        assert np.isfinite(load_weights(checkpoint.weights).flat()).all()
    if only(Diverged, events) and events[-1].outcome == "all_diverged":
        assert all(c.step < events[-1].step for c in checkpoints)


def test_when_all_replicas_have_diverged_the_run_ends_without_another_checkpoint():
    events = run(job(steps=200, replicas=2, activation="relu", optimizer=SGD(lr=50.0), length=12, checkpoint_every=1))
    assert events[-1].outcome == "all_diverged"
    assert {d.replica for d in only(Diverged, events)} == {0, 1}
    assert all(c.step < events[-1].step for c in only(Checkpoint, events))


def test_a_job_or_checkpoint_that_cannot_be_used_is_refused_before_the_first_event():
    with pytest.raises(ConfigurationError):
        train(job(length=100_000, batch_size=65_536))
    other = last_checkpoint(run(job(steps=2, seed=1)))
    with pytest.raises(CheckpointError, match="seed"):
        train(job(steps=2, seed=2), resume=(other.weights, other.state))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_short_run_learns_to_integrate_far_better_than_the_baseline(dtype: DType):
    learning = job(length=20, hidden=10, steps=400, batch_size=64, replicas=4, optimizer=Adam(lr=0.01), dtype=dtype)
    final = only(Evaluation, run(learning))[-1].loss
    baseline = Problem.of(learning).baseline_loss
    assert (final < 0.25 * baseline).all()
    assert final.min() < 0.05 * baseline


def test_the_held_out_loss_is_that_of_the_numpy_page_on_the_held_out_set():
    from docs import bptt_in_numpy as page

    whole = job(steps=3, replicas=2, dtype="float64", activation="relu")
    events = run(whole)
    tensors = load_weights(last_checkpoint(events).weights).tensors
    held_out = tasks.resolve(whole.data).held_out(whole.training.held_out)
    x, target = held_out.x_RTBI[0], held_out.target_RTBO[0]
    for r in range(2):
        w = page.Parameters(**{name.split(".")[-1]: tensor[r] for name, tensor in tensors.items()})
        expected = page.loss(page.forward(w, x.astype(float), "relu")[1], target.astype(float))
        assert only(Evaluation, events)[-1].loss[r] == pytest.approx(expected, rel=1e-9)
