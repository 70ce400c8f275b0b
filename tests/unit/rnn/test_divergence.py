"""A replica that diverges says what may help, from its configuration and the moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn.events import Checkpoint, Metrics
from rnn.networks import parameters
from rnn.training.divergence import hint, usual_norm
from rnn.training.events import Diverged, Evaluation
from rnn.training.problem import Problem
from rnn.training.resume import load_state
from tests.unit.rnn.jobs import bits, job, only, run
from unroll.contract import SGD, Adam, AdamW, ClipByGlobalNorm, ClipByValue, Network, Regularisation

RATE = SGD(lr=0.02)


def of(step: int = 500, *, finite: bool = False, usual: float = 3.14159, radius: float | None = None, **fields: Any):
    return hint(Problem.of(job(optimizer=RATE, **fields)), step, finite=finite, usual=usual, radius=radius)


def test_without_clipping_it_names_a_norm_to_clip_at_and_with_it_the_learning_rate():
    assert "max_norm of about 1.6, half its usual norm" in of()
    assert "max_norm of 1," in of(usual=np.nan)
    for clip, limit in ((ClipByGlobalNorm(max_norm=1.5), "1.5"), (ClipByValue(max_value=0.25), "0.25")):
        said = of(clip=clip)
        assert f"clipped already, at {limit}: lower the learning rate (now 0.02)" in said
        assert "not clipped" not in said


def test_a_clip_that_clips_nothing_is_said_to_be_too_high():
    said = of(clip=ClipByGlobalNorm(max_norm=50.0))
    assert "The clip at 50 is too high for this network: try a max_norm of about 1.6" in said
    assert "clipped already" not in said


def test_a_norm_to_clip_at_makes_no_step_that_is_longer_than_the_weights_are_large():
    assert "max_norm of about 50, so that no step is longer than 1" in of(usual=1e6)


def test_where_the_optimiser_sets_the_length_of_steps_the_learning_rate_comes_first():
    said = hint(Problem.of(job(optimizer=Adam(lr=1.0))), 500, finite=False, usual=3.0, radius=None)
    assert "A step of adam is about as long as its learning rate: lower the learning rate (now 1)." in said
    assert said.index("lower the learning rate") < said.index("max_norm of about 1.5")


def test_at_the_start_it_names_initialisation_and_learning_rate_and_later_neither_start():
    assert "before the first update: the initialisation (uniform) is too large" in of(1)
    assert "right at the start, at step 1:" in of(1, finite=True)  # then it was the update
    assert "warmup" in of(7)
    assert "warmup" not in of(7, warmup=100)
    assert "right at the start" not in of(500)


def test_large_penalties_and_a_decay_of_whole_weights_are_named():
    large = Regularisation(l2=1e5, activity=20, l1=1)
    assert "Penalties are large (l2 100000, activity 20)" in of(regularisation=large)
    assert "Penalties" not in of(regularisation=Regularisation(l2=1.0))
    decaying = hint(Problem.of(job(optimizer=AdamW(lr=0.1, weight_decay=30.0))), 9, finite=True, usual=1.0, radius=None)
    assert "lr * weight_decay = 3 of a weight away" in decaying


def test_a_radius_above_one_is_named_where_units_are_unbounded():
    assert "relu units and a spectral radius of W_hh that is 1.25 by now" in of(activation="relu", radius=1.25)
    assert "radius" not in of(activation="relu", radius=0.9)


def test_the_usual_norm_follows_slowly_and_leaves_out_what_is_not_finite():
    usual = np.array([np.nan, 1.0, 1.0, 1.0])
    after = usual_norm(usual, np.array([2.0, 32.0, np.inf, np.nan]))
    np.testing.assert_allclose(after, [2.0, 2.0**0.2, 1.0, 1.0])
    exploding = usual_norm(np.array([3.0]), np.array([1e12]))
    assert exploding[0] < 3.5


def diverging(**fields: Any):
    defaults = {"steps": 60, "replicas": 6, "length": 12, "hidden": 3, "activation": "identity", "optimizer": RATE}
    return job(**(defaults | {"evaluate_every": 20, "checkpoint_every": 5} | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": SGD(lr=0.1)},
        {"optimizer": SGD(lr=0.05), "activation": "relu", "length": 20, "hidden": 10, "steps": 120},
    ],
    ids=["linear", "five times faster", "relu"],
)
def test_a_run_that_does_as_the_hint_says_clips_and_trains(fields: dict[str, Any]):
    hints = [d.hint for d in only(Diverged, run(diverging(**fields)))]
    suggested = {float(said.split("max_norm of about ")[1].split(",")[0]) for said in hints}
    assert suggested
    for norm in sorted(suggested)[:: max(len(suggested) - 1, 1)]:  # the smallest and the largest
        events = run(diverging(**fields, clip=ClipByGlobalNorm(max_norm=norm)))
        assert only(Diverged, events) == []
        assert np.mean([m.values["clipped_fraction"] for m in only(Metrics, events)]) > 0.3
        baseline = (fields.get("length", 12) + 1) / 2
        assert np.median(only(Evaluation, events)[-1].loss) < baseline


def test_hints_after_a_resume_are_those_that_would_have_been():
    whole = diverging()
    reference = run(whole)
    first = only(Diverged, reference)[0]
    before = [c for c in only(Checkpoint, reference) if c.step < first.step]
    assert before
    assert np.isfinite(load_state(before[-1].state).usual_norm).all()
    for checkpoint in before:
        resumed = run(whole, resume=(checkpoint.weights, checkpoint.state))
        assert [bits(e) for e in only(Diverged, resumed)] == [bits(e) for e in only(Diverged, reference)]


def test_a_start_that_overflows_is_blamed_and_its_radius_named(monkeypatch: pytest.MonkeyPatch):
    honest = parameters.initialise

    def huge(network: Network, *arguments: Any):
        start = honest(network, *arguments)
        return start * 1e12

    monkeypatch.setattr(parameters, "initialise", huge)
    (diverged,) = only(Diverged, run(diverging(replicas=1)))
    assert diverged.step == 1
    assert "before the first update" in diverged.hint
    assert "learning rate" not in diverged.hint
    assert "identity units and a spectral radius" in diverged.hint
