"""Per-lag profiles on request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn.errors import ConfigurationError
from rnn.events import Metrics
from rnn.training.events import LagProfile
from rnn.training.problem import Problem
from rnn.training.profile import lags
from rnn.training.validation import validate
from tests.unit.rnn.jobs import bits, job, last_checkpoint, only, run
from unroll.contract import BPTT, TrainJob


def reversing(length: int = 5, **training: Any) -> TrainJob:
    cell = {"type": "gru", "hidden_size": 4}
    network = {
        "cell": cell,
        "input_size": 3,
        "output_size": 3,
        "architecture": "encoder_decoder",
        "feedback": "softmax",
    }
    return TrainJob.model_validate(
        {
            "model": network,
            "data": {"name": "reverse", "parameters": {"length": length, "symbols": 3}},
            "training": {"batch_size": 4, "loss": {"type": "cross_entropy"}} | training,
            "replicas": 2,
        }
    )


def test_a_profile_tells_how_gradients_shrink_on_their_way_back():
    profiles = only(LagProfile, run(job(length=30, steps=6, profile_every=3, replicas=2)))
    assert [profile.step for profile in profiles] == [3, 6]
    for profile in profiles:
        assert profile.lag.tolist() == list(range(30))
        assert profile.norm.shape == (2, 30)
        assert np.isfinite(profile.norm).all()
        assert (profile.norm > 0).all()


@pytest.mark.parametrize("forcing", [0.0, 0.5, 1.0])
def test_a_profile_of_an_encoder_decoder_goes_on_from_the_last_step_written_to_the_first_one_read(forcing: float):
    one = reversing(steps=2, teacher_forcing=forcing, profile_every=2, regularisation={"activity": 0.1})
    (profile,) = only(LagProfile, run(one))
    assert profile.lag.tolist() == list(range(5 + 5))
    assert profile.norm.shape == (2, 10)
    assert (profile.norm > 0).all()
    penalties = [metrics.values["penalty"] for metrics in only(Metrics, run(one))]
    assert (np.array(penalties) > 0).all()


def test_profiles_change_no_bit_of_the_training():
    with_profiles, without = (run(job(steps=8, replicas=2, profile_every=every)) for every in (2, None))
    others = [event for event in with_profiles if not isinstance(event, LagProfile)]
    assert len(others) == len(with_profiles) - 4
    # Checkpoints name the job, which differs; all else is the same.
    assert [bits(one) for one in others if hasattr(one, "values")] == [
        bits(one) for one in without if hasattr(one, "values")
    ]


@pytest.mark.parametrize("steps", [1, 64, 65, 200, 5000])
def test_lags_are_few_and_reach_from_the_last_step_to_the_first(steps: int):
    found = lags(steps)
    assert found[0] == 0
    assert found[-1] == steps - 1
    assert (np.diff(found) > 0).all()
    assert len(found) <= 128


def test_what_has_no_profile_is_refused():
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(job(profile_every=1, bptt=BPTT(window=3))))
    assert error.value.pointer == "/training/profile_every"
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(job(profile_every=1, steps=10_000_000)))
    assert error.value.code == "too_many_values"
    validate(Problem.of(reversing(steps=10_000, profile_every=20)))
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(reversing(length=200, steps=100_000, profile_every=1)))
    assert error.value.code == "too_many_values"


def test_a_run_goes_on_whatever_profiles_it_is_asked_for():
    first = job(steps=4, checkpoint_every=4, profile_every=2)
    saved = last_checkpoint(run(first))
    more = job(steps=8, checkpoint_every=4, profile_every=4)
    assert [one.step for one in only(LagProfile, run(more, resume=(saved.weights, saved.state)))] == [8]
