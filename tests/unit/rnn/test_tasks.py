"""Tasks: seeded, addressed, with an exact baseline."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from rnn.data import tasks
from rnn.data.source import Batch
from rnn.errors import ConfigurationError
from rnn.randomness.streams import Purpose, Stream
from unroll.contract import HeldOut, TaskData


def pair(batch: Batch):
    """Inputs [T, B, I] and targets [T, B, O] of the first replica."""
    return batch.x_RTBI[0], batch.target_RTBO[0]


def integrate(length: int = 20):
    return tasks.resolve(TaskData(name="integrate_noise", parameters={"length": length}))


def test_a_batch_depends_only_on_seed_replica_and_step():
    task = integrate()
    reference = pair(task.batch(3, 1, 8, 16))
    for step in (1, 9, 8):
        again = pair(task.batch(3, 1, step, 16))
    assert all(np.array_equal(a, b) for a, b in zip(reference, again, strict=True))
    for other in ((4, 1, 8), (3, 2, 8), (3, 1, 9)):
        assert not np.array_equal(pair(task.batch(*other, 16))[0], reference[0])


def test_the_target_is_the_running_sum_of_the_input():
    x, y = pair(integrate(50).batch(0, 0, 1, 8))
    assert x.shape == y.shape == (50, 8, 1)
    np.testing.assert_allclose(y, np.cumsum(x, axis=0, dtype=np.float64), atol=1e-4)


def test_inputs_are_white_noise_of_unit_variance():
    x, _ = pair(integrate(20).batch(0, 0, 1, 20_000))
    n = x.size
    assert abs(x.mean()) < 5 / np.sqrt(n)
    assert abs(x.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((x[1:] * x[:-1]).mean()) < 5 / np.sqrt(n)


@pytest.mark.parametrize("length", [1, 20, 77])
def test_predicting_zero_costs_on_average_what_the_baseline_says(length: int):
    task = integrate(length)
    _, y = pair(task.batch(1, 0, 1, 40_000))
    assert task.baseline_loss() == (length + 1) / 2
    assert np.mean(y.astype(np.float64) ** 2) == pytest.approx((length + 1) / 2, rel=0.03)


def test_the_held_out_set_depends_on_its_own_seed_and_is_no_training_batch():
    task = integrate()
    x, y = pair(task.held_out(HeldOut(size=16, seed=0)))
    again, _ = pair(task.held_out(HeldOut(size=16, seed=0)))
    assert x.shape == y.shape == (20, 16, 1)
    assert np.array_equal(x, again)
    assert not np.array_equal(x, pair(task.held_out(HeldOut(size=16, seed=1)))[0])
    for step in (0, 1):
        assert not np.array_equal(x, pair(task.batch(0, 0, step, 16))[0])


def test_no_two_streams_share_a_first_draw():
    draws = [
        Stream(seed, purpose, replica).at(step).random()
        for seed in (0, 1, 2**63 - 1)
        for purpose in Purpose
        for replica in (0, 1, 1023)
        for step in (0, 1, 10**8)
    ]
    assert len(set(draws)) == len(draws)


def test_repositioning_a_stream_forgets_what_was_drawn_before():
    stream = Stream(1, Purpose.BATCHES)
    expected = stream.at(5).standard_normal(7, dtype=np.float32)
    stream.at(4).standard_normal(3, dtype=np.float32)  # an odd number leaves half a word behind
    assert np.array_equal(stream.at(5).standard_normal(7, dtype=np.float32), expected)


def test_the_streams_are_the_ones_that_stored_results_were_made_from():
    """If this fails, old jobs cannot be reproduced: raise rnn.training.environment.ENGINE."""
    x, _ = pair(integrate().batch(seed=0, replica=3, step=100, batch_size=64))
    digest = hashlib.sha256(x.astype("<f4").tobytes()).hexdigest()
    assert digest == "a5b436c04d25ea8fe9806f719ee676dd0bf575a142eb7f7d90c6cc6ff8675fee"


def test_every_task_describes_itself_with_a_schema_and_its_baseline():
    for task in tasks.all():
        assert tasks.resolve(TaskData(name=task.name)).describe() == task
        assert task.parameters["additionalProperties"] is False
        assert task.baseline.loss == tasks.resolve(TaskData(name=task.name)).baseline_loss()
    described = tasks.resolve(TaskData(name="integrate_noise")).describe()
    assert described.parameters["properties"]["length"]["default"] == 20
    assert described.baseline.loss == 10.5
    wide = tasks.resolve(TaskData(name="recall", parameters={"symbols": 5})).describe()
    assert (wide.vocabulary_size, wide.input_size, wide.output_size) == (7, 7, 5)
    assert wide.baseline.loss == pytest.approx(np.log(5))


@pytest.mark.parametrize(
    ("name", "given", "pointer", "code"),
    [
        ("no_such_task", {}, "/data/name", "unknown_task"),
        ("integrate_noise", {"length": 0}, "/data/parameters/length", "greater_than_equal"),
        ("integrate_noise", {"length": 10**9}, "/data/parameters/length", "less_than_equal"),
        ("integrate_noise", {"length": 2.5}, "/data/parameters/length", "int_type"),
        ("integrate_noise", {"length": True}, "/data/parameters/length", "int_type"),
        ("integrate_noise", {"length": float("nan")}, "/data/parameters/length", "int_type"),
        ("integrate_noise", {"length": float("inf")}, "/data/parameters/length", "int_type"),
        ("integrate_noise", {"le/ng~th": 1}, "/data/parameters/le~1ng~0th", "extra_forbidden"),
    ],
)
def test_wrong_task_parameters_are_refused_by_name(name: str, given: dict[str, Any], pointer: str, code: str):
    with pytest.raises(ConfigurationError) as error:
        tasks.resolve(TaskData(name=name, parameters=given))
    assert (error.value.pointer, error.value.code) == (pointer, code)
