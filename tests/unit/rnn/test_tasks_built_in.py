"""Every built-in task: exact baselines, targets recomputed, draws that depend on (seed, replica, step) alone."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from rnn.data import tasks
from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.errors import ConfigurationError
from rnn.randomness.streams import Draws, Purpose
from tests.unit.rnn.tasks import EXAMPLES, LONG, cost_of_the_trivial_predictor
from unroll.contract import BCE, MSE, TaskData

every_case = pytest.mark.parametrize(("name", "given"), EXAMPLES, ids=str)


def test_every_task_has_examples_so_that_all_proofs_of_tasks_run_for_it():
    assert {name for name, _ in EXAMPLES} == set(tasks.TASKS)


def task_of(name: str, given: dict[str, Any]) -> SequenceTask:
    return tasks.resolve(TaskData(name=name, parameters=given))


def drawn(name: str, given: dict[str, Any], size: int = 50, step: int = 1) -> Batch:
    return task_of(name, given).batch(3, 0, step, size)


@every_case
def test_the_configuration_of_a_task_gives_the_same_task_again_with_every_parameter_written_out(
    name: str, given: dict[str, Any]
):
    task = task_of(name, given)
    written = TaskData.model_validate_json(task.config().model_dump_json())
    assert written.parameters.keys() == type(task).model_fields.keys()
    assert given.items() <= written.parameters.items()
    assert tasks.resolve(written) == task
    assert tasks.resolve(written).config() == task.config()


def valid(batch: Batch) -> np.ndarray:
    """[T, B], true where an output step counts."""
    shape = batch.target_RTBO.shape[1:3]
    return np.ones(shape, bool) if batch.weight_RTB is None else batch.weight_RTB[0] > 0


@every_case
@pytest.mark.parametrize("kind", [0, 1])
def test_the_baseline_is_what_the_trivial_predictor_costs_on_average(name: str, given: dict[str, Any], kind: int):
    task = task_of(name, given)
    losses = [{"bce": BCE(), "mse": MSE()}.get(loss) for loss in task.losses]
    loss = losses[min(kind, len(losses) - 1)]
    architecture = task.architectures[min(kind, len(task.architectures) - 1)]
    batch = task.batch(5, 0, 1, 20_000)
    counts = valid(batch)
    if architecture == "many_to_one":
        last = counts.sum(0) - 1
        counts = np.arange(len(counts))[:, None] == last
    cost_TB = cost_of_the_trivial_predictor(task, batch.target_RTBO[0], loss.type if loss else task.losses[0])
    baseline = task.baseline_loss(architecture, loss)
    # The standard error of a ratio of two means over sequences.
    per_sequence, weight = (cost_TB * counts).sum(0), counts.sum(0)
    error = (per_sequence - baseline * weight).std() / np.sqrt(len(weight)) / weight.mean()
    assert abs(per_sequence.sum() / weight.sum() - baseline) <= 5 * error + 1e-6
    assert np.isfinite(baseline)


@every_case
def test_every_draw_depends_on_seed_replica_and_step_alone(name: str, given: dict[str, Any]):
    task = task_of(name, given)
    draws = Draws(8, Purpose.BATCHES, range(3)).at(4)
    together = task.allocate(3, 17)
    for array in (together.x_RTBI, together.target_RTBO):
        array.fill(0.5)  # whatever lay there before
    task.fill(draws, together)
    for replica in range(3):
        alone = task.batch(8, replica, 4, 17)
        for field in alone.__slots__:
            one, all_three = getattr(alone, field), getattr(together, field)
            assert (one is None) == (all_three is None)
            if one is not None:
                assert np.array_equal(one[0], all_three[replica]), field
    for other in ((9, 0, 4), (8, 1, 4), (8, 0, 5)):
        assert not np.array_equal(task.batch(*other, 17).x_RTBI[0], together.x_RTBI[0])


@pytest.mark.parametrize("name", tasks.TASKS)
def test_drawing_takes_at_most_as_much_memory_again_as_the_sequences(name: str, monkeypatch: pytest.MonkeyPatch):
    """Estimates of a job's memory count that much (rnn.training.cost). The kernel draws normals in their place."""
    monkeypatch.setattr(Draws, "normals", lambda _draws, out, _scale=None: out.fill(0.5))
    task = task_of(name, LONG[name])
    batch, draws = task.allocate(1, 2_000), Draws(0, Purpose.HELD_OUT)
    tracemalloc.start()
    try:
        task.fill(draws, batch)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    arrays = (batch.x_RTBI, batch.target_RTBO, batch.weight_RTB)
    assert taken <= 1.1 * sum(array.nbytes for array in arrays if array is not None) + 1e6


@every_case
def test_shapes_are_what_the_task_says_and_lengths_run_from_the_shortest_to_the_longest(
    name: str, given: dict[str, Any]
):
    task, batch = task_of(name, given), drawn(name, given, 400)
    width = 1 if task.vocabulary_size else task.input_size
    assert batch.x_RTBI.shape == (1, task.input_steps, 400, width)
    assert batch.target_RTBO.shape == (1, task.output_steps, 400, task.output_size)
    if task.vocabulary_size:
        assert set(np.unique(batch.x_RTBI)) == set(range(task.vocabulary_size))
    if task.shortest is None:
        assert batch.length_RB is None
    else:
        assert batch.length_RB is not None
        assert set(batch.length_RB[0].tolist()) == set(range(task.shortest, task.input_steps + 1))
        assert (valid(batch).sum(0) == batch.length_RB[0]).all()


@pytest.mark.parametrize("given", [{"length": 2}, {"length": 9}, {"length": 9, "min_length": 2}])
def test_adding_marks_two_numbers_of_each_sequence_and_asks_for_their_sum(given: dict[str, Any]):
    batch = drawn("adding", given, 300)
    numbers, marks = batch.x_RTBI[0, ..., 0], batch.x_RTBI[0, ..., 1]
    for b in range(300):
        length = given["length"] if batch.length_RB is None else batch.length_RB[0, b]
        marked = np.flatnonzero(marks[:, b])
        assert len(marked) == 2
        assert marked.max() < length
        assert (marks[marked, b] == 1).all()
        np.testing.assert_allclose(batch.target_RTBO[0, :, b, 0], numbers[marked, b].sum(), rtol=1e-6)


def test_adding_marks_every_pair_of_steps_alike():
    marks = drawn("adding", {"length": 4}, 60_000).x_RTBI[0, ..., 1].astype(int)
    counts = np.bincount(marks.T @ [1, 2, 4, 8], minlength=16)
    pairs = [3, 5, 9, 6, 10, 12]
    assert counts[pairs].sum() == 60_000
    assert np.abs(counts[pairs] - 10_000).max() < 5 * np.sqrt(60_000 * (1 / 6) * (5 / 6))


def test_parity_is_whether_the_sum_so_far_is_odd():
    batch = drawn("parity", {"length": 9})
    assert set(np.unique(batch.x_RTBI)) == {0.0, 1.0}
    assert np.array_equal(batch.target_RTBO, batch.x_RTBI.cumsum(1) % 2)


@pytest.mark.parametrize("delay", [0, 4])
def test_recall_asks_for_the_symbols_after_the_cue_and_counts_no_other_step(delay: int):
    batch = drawn("recall", {"symbols": 5, "items": 3, "delay": delay})
    tokens_TB, target_TBO = batch.x_RTBI[0, ..., 0], batch.target_RTBO[0]
    assert batch.weight_RTB is not None
    for b in range(tokens_TB.shape[1]):
        read = [int(token) for token in tokens_TB[:, b]]
        assert all(symbol < 5 for symbol in read[:3])
        assert read[3:] == [5] * delay + [6, 5, 5]
        assert target_TBO[-3:, b].argmax(-1).tolist() == read[:3]
        assert target_TBO[:, b].sum(-1).tolist() == [0] * (3 + delay) + [1] * 3
        assert batch.weight_RTB[0, :, b].tolist() == [0] * (3 + delay) + [1] * 3


@pytest.mark.parametrize("order", ["backwards", "same"])
@pytest.mark.parametrize("shortest", [None, 1])
def test_reverse_asks_for_each_sequence_in_the_order_wanted(order: str, shortest: int | None):
    batch = drawn("reverse", {"symbols": 6, "length": 5, "min_length": shortest, "order": order})
    for b in range(50):
        length = 5 if batch.length_RB is None else int(batch.length_RB[0, b])
        read = batch.x_RTBI[0, :length, b, 0].astype(int).tolist()
        written = batch.target_RTBO[0, :length, b]
        assert (written.sum(-1) == 1).all()
        assert written.argmax(-1).tolist() == (read[::-1] if order == "backwards" else read)
        if batch.target_length_RB is not None:
            assert batch.target_length_RB[0, b] == length


def test_the_input_of_sine_sets_the_period_of_its_wave():
    batch = drawn("sine", {"length": 16, "shortest_period": 4.0, "longest_period": 12.0})
    u_B = batch.x_RTBI[0, 0, :, 0].astype(np.float64)
    assert np.abs(u_B).max() <= 1
    frequency_B = 1 / 12 + (u_B + 1) / 2 * (1 / 4 - 1 / 12)
    for t in range(16):
        expected = np.sin(2 * np.pi * frequency_B * (t + 1))
        np.testing.assert_allclose(batch.target_RTBO[0, t, :, 0], expected, atol=1e-6)


def test_xor_is_of_the_bits_that_lie_under_the_noise():
    clean, noisy = drawn("xor", {}, 4_000), drawn("xor", {"noise": 0.25}, 4_000)
    x, y = clean.x_RTBI[0, 0], clean.target_RTBO[0, 0, :, 0]
    assert set(np.unique(x)) == {0.0, 1.0}
    assert np.array_equal(y, x[:, 0] != x[:, 1])
    assert np.array_equal(noisy.target_RTBO, clean.target_RTBO)
    noise = noisy.x_RTBI - clean.x_RTBI
    assert abs(noise.std() - 0.25) < 5 * 0.25 / np.sqrt(2 * noise.size)


def test_poisson_counts_have_the_mean_and_variance_of_their_rates():
    batch = drawn("poisson_counts", {"length": 5, "rate": 2.0, "gain": 0.7, "tau": 2.0}, 40_000)
    decay, z = np.exp(-0.5), np.zeros(40_000)
    for t in range(5):
        z = decay * z + np.sqrt(1 - decay**2) * batch.x_RTBI[0, t, :, 0].astype(np.float64)
        rate = 2.0 * np.exp(0.7 * z)
        surprise = (batch.target_RTBO[0, t, :, 0] - rate) / np.sqrt(rate)
        assert abs(surprise.mean()) < 5 / np.sqrt(40_000)
        assert abs(surprise.var() - 1) < 5 * np.sqrt((2 + (1 / rate).mean()) / 40_000)
        assert np.array_equal(batch.target_RTBO, np.floor(batch.target_RTBO))


@pytest.mark.parametrize(
    ("name", "given", "pointer", "code"),
    [
        ("adding", {"length": 1}, "/data/parameters/length", "greater_than_equal"),
        ("adding", {"length": 5, "min_length": 1}, "/data/parameters/min_length", "greater_than_equal"),
        ("adding", {"length": 5, "min_length": 6}, "/data/parameters/min_length", "value_error"),
        ("reverse", {"order": "sideways"}, "/data/parameters/order", "literal_error"),
        ("reverse", {"symbols": 1}, "/data/parameters/symbols", "greater_than_equal"),
        ("recall", {"delay": -1}, "/data/parameters/delay", "greater_than_equal"),
        ("sine", {"longest_period": 3.0}, "/data/parameters/longest_period", "value_error"),
        ("xor", {"noise": -1.0}, "/data/parameters/noise", "greater_than_equal"),
        ("poisson_counts", {"tau": 0.0}, "/data/parameters/tau", "greater_than_equal"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(name: str, given: dict[str, Any], pointer: str, code: str):
    with pytest.raises(ConfigurationError) as error:
        task_of(name, given)
    assert (error.value.pointer, error.value.code) == (pointer, code)


@every_case
def test_the_baseline_is_the_one_of_every_sequence_written_out(name: str, given: dict[str, Any]):
    """The definition: the mean over all lengths of the costs of their steps, as matrices [T, lengths]."""
    task = task_of(name, given)
    for architecture in task.architectures:
        cost_T, weight_T = task.costs(task.losses[0]), task.weights()
        steps = np.arange(1, len(cost_T) + 1)[:, None]
        lengths = np.arange(task.shortest or task.output_steps, task.output_steps + 1)
        counts = steps == lengths if architecture == "many_to_one" else (steps <= lengths) * weight_T[:, None]
        expected = (cost_T @ counts).sum() / counts.sum()
        assert task.baseline_loss(architecture) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_the_largest_baseline_needs_memory_that_grows_with_the_length_alone(name: str):
    """The API computes it for everyone who asks: a matrix of steps by lengths would take gigabytes."""
    fields = tasks.TASKS[name].model_json_schema()["properties"]
    largest = {key: field["maximum"] for key, field in fields.items() if field.get("type") == "integer"}
    if "min_length" in fields:
        largest["min_length"] = max(2, fields["min_length"]["anyOf"][0]["minimum"])
    task = task_of(name, {key: int(value) for key, value in largest.items()})
    tracemalloc.start()
    try:
        for architecture in task.architectures:
            task.baseline_loss(architecture)
        task.describe()
        assert tracemalloc.get_traced_memory()[1] < 32e6
    finally:
        tracemalloc.stop()
