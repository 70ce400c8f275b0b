"""Prediction with NumPy alone: what a sequence gives depends on nothing beside it."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docs import bptt_in_numpy as page
from rnn import kernels
from rnn.errors import CheckpointError, InputError
from rnn.networks import parameters
from rnn.networks.weights import dump_weights, load_weights
from rnn.serving.predictor import Engine, Predictor
from tests.unit.rnn.jobs import job, last_checkpoint, network, run
from unroll.contract import Activation, DType, Returnable

Problem: TypeAlias = tuple[Predictor, list[np.ndarray[Any, Any]], np.random.Generator]
EVERYTHING: tuple[Returnable, ...] = ("outputs", "state", "hidden")
ENGINES: tuple[Engine, ...] = ("auto", "numpy")


def predictor(
    hidden: int = 5,
    activation: Activation = "tanh",
    inputs: int = 2,
    outputs: int = 3,
    replicas: int = 3,
    dtype: DType = "float32",
    seed: int = 0,
    engine: Engine = "auto",
):
    net = network(hidden, activation, inputs, outputs)
    return Predictor(dump_weights(net, dtype, parameters.initialise(net, seed, replicas, dtype)), engine)


@st.composite
def problems(draw: st.DrawFn):
    sizes = {name: draw(st.integers(1, 20)) for name in ("hidden", "inputs", "outputs")}
    kind = draw(st.sampled_from(["tanh", "relu", "identity"]))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    served = predictor(**sizes, activation=kind, dtype=dtype, engine=draw(st.sampled_from(ENGINES)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=20))
    return served, [generator.standard_normal((n, sizes["inputs"])) for n in lengths], generator


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
def test_predictions_are_those_of_the_numpy_page(activation: Activation):
    net = network(6, activation, 2, 3)
    content = dump_weights(net, "float64", parameters.initialise(net, 4, 2, "float64"))
    tensors = load_weights(content).tensors
    x = np.random.default_rng(0).standard_normal((9, 2))
    for r in range(2):
        w = page.Parameters(**{name.split(".")[-1]: tensor[r] for name, tensor in tensors.items()})
        h, y = page.forward(w, x[:, None], activation)
        predicted = Predictor(content).predict([x], replica=r, want=EVERYTHING)
        np.testing.assert_allclose(predicted.outputs[0], y[:, 0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(predicted.hidden[0], h[1:, 0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(predicted.state[0][0]["h"], h[-1, 0], rtol=1e-12, atol=1e-14)


@given(problems())
@settings(max_examples=60, deadline=None)
def test_a_sequence_gives_the_same_bits_alone_and_in_any_ragged_batch(problem: Problem):
    served, sequences, _ = problem
    together = served.predict(sequences, want=EVERYTHING)
    for i, sequence in enumerate(sequences):
        alone = served.predict([sequence], want=EVERYTHING)
        assert together.outputs[i].shape == (len(sequence), served.network.output_size)
        assert np.array_equal(together.outputs[i], alone.outputs[0])
        assert np.array_equal(together.hidden[i], alone.hidden[0])
        assert np.array_equal(together.state[i][0]["h"], alone.state[0][0]["h"])


@given(problems())
@settings(max_examples=60, deadline=None)
def test_cutting_sequences_in_two_and_carrying_the_state_gives_the_same_bits(problem: Problem):
    served, sequences, generator = problem
    sequences = [np.concatenate([sequence, sequence[:1]]) for sequence in sequences]  # at least two steps
    cuts = [int(generator.integers(1, len(sequence))) for sequence in sequences]
    whole = served.predict(sequences, replica="all", want=EVERYTHING)
    first = served.predict([s[:c] for s, c in zip(sequences, cuts, strict=True)], None, "all", EVERYTHING)
    second = served.predict([s[c:] for s, c in zip(sequences, cuts, strict=True)], first.state, "all", EVERYTHING)
    for i in range(len(sequences)):
        assert np.array_equal(np.concatenate([first.outputs[i], second.outputs[i]], axis=1), whole.outputs[i])
        assert np.array_equal(second.state[i][0]["h"], whole.state[i][0]["h"])


@given(problems())
@settings(max_examples=30, deadline=None)
def test_all_replicas_at_once_are_the_replicas_one_by_one(problem: Problem):
    served, sequences, _ = problem
    every = served.predict(sequences, replica="all", want=EVERYTHING)
    for r in range(served.replicas):
        one = served.predict(sequences, replica=r, want=EVERYTHING)
        for i in range(len(sequences)):
            assert np.array_equal(every.outputs[i][r], one.outputs[i])
            assert np.array_equal(every.hidden[i][r], one.hidden[i])
            assert np.array_equal(every.state[i][0]["h"][r], one.state[i][0]["h"])


def test_a_state_survives_the_way_through_json():
    served = predictor()
    x = np.random.default_rng(1).standard_normal((6, 2))
    whole = served.predict([x]).outputs[0]
    state = served.predict([x[:4]], want=("state",)).state
    as_json = [[{"h": layer["h"].tolist()} for layer in layers] for layers in state]
    assert np.array_equal(served.predict([x[4:].tolist()], as_json).outputs[0], whole[4:])


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_beyond_the_working_memory_give_the_same_bits(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    served = predictor(hidden=9, engine=engine)
    generator = np.random.default_rng(2)
    sequences = [generator.standard_normal((int(n), 2)) for n in generator.integers(1, 30, 50)]
    at_once = served.predict(sequences, want=EVERYTHING)
    monkeypatch.setattr("rnn.serving.predictor._WORKING_VALUES", 1)
    monkeypatch.setattr("rnn.serving.numpy_stack._WORKING_VALUES", 1)
    tile_by_tile = served.predict(sequences, want=EVERYTHING)
    for i in range(50):
        assert np.array_equal(at_once.outputs[i], tile_by_tile.outputs[i])
        assert np.array_equal(at_once.hidden[i], tile_by_tile.hidden[i])
        assert np.array_equal(at_once.state[i][0]["h"], tile_by_tile.state[i][0]["h"])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("wanted", [(), *[(one,) for one in EVERYTHING]])
def test_what_is_answered_does_not_depend_on_what_else_is(wanted: tuple[Returnable, ...], engine: Engine):
    served, x = predictor(engine=engine), np.random.default_rng(3).standard_normal((40, 2))
    every, some = served.predict([x, x[:7]], None, "all", EVERYTHING), served.predict([x, x[:7]], None, "all", wanted)
    for i in range(2):
        if "outputs" in wanted:
            assert np.array_equal(some.outputs[i], every.outputs[i])
        if "hidden" in wanted:
            assert np.array_equal(some.hidden[i], every.hidden[i])
        if "state" in wanted:
            assert np.array_equal(some.state[i][0]["h"], every.state[i][0]["h"])


@pytest.mark.parametrize(
    ("shape", "wanted", "replica", "message"),
    [
        ((500_001, 2), ("state",), 0, "500,001 time steps are 1,000,002 values in the inputs, more than 1,000,000"),
        ((200_001, 2), ("hidden",), 0, "200,001 time steps are 1,000,005 values in the answer of 1 replica, more"),
        ((111_112, 2), ("outputs",), "all", "111,112 time steps are 1,000,008 values in the answer of 3 replicas"),
        ((490_000, 2), ("state",), "all", None),
    ],
)
def test_a_prediction_that_is_too_large_is_refused_with_the_numbers(
    shape: tuple[int, int], wanted: tuple[Returnable, ...], replica: Any, message: str | None, monkeypatch: Any
):
    def run(*_: Any) -> Any:
        raise RuntimeError("it would be computed")

    served = predictor()
    monkeypatch.setattr(served, "_run", run)
    with pytest.raises(RuntimeError if message is None else InputError, match=message):
        served.predict([np.zeros(shape)], None, replica, wanted)


def test_what_is_computed_is_bounded_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rnn.serving.predictor.MAX_PREDICT_ACTIVATIONS", 100)
    served = predictor()
    assert len(served.predict([np.zeros((20, 2))]).outputs[0]) == 20
    with pytest.raises(InputError, match="21 time steps are 105 values to compute for 1 replica, more than 100"):
        served.predict([np.zeros((21, 2))])


def test_only_what_was_asked_for_is_answered_in_the_dtype_of_the_checkpoint():
    for dtype in ("float32", "float64"):
        predicted = predictor(dtype=dtype).predict([[[0.5, -1]]], want=("hidden",))
        assert predicted.outputs is None
        assert predicted.state is None
        assert predicted.hidden[0].dtype == dtype


@pytest.mark.skipif(not kernels.available(), reason="there is no native kernel here")
@given(problems())
@settings(max_examples=30, deadline=None)
def test_many_rows_at_once_give_the_same_bits_on_the_kernel(problem: Problem):
    served, sequences, generator = problem
    many = [sequences[int(i)] for i in generator.integers(0, len(sequences), 300)]  # more than one block of rows
    alone = {id(sequence): served.predict([sequence]).outputs[0] for sequence in sequences}
    for sequence, y in zip(many, served.predict(many).outputs, strict=True):
        assert np.array_equal(y, alone[id(sequence)])


def test_the_predictions_of_a_trained_network_reach_its_held_out_loss():
    from rnn.data import tasks
    from rnn.training.events import Evaluation

    trained = job(steps=50, length=8, replicas=2, batch_size=32)
    events = run(trained)
    expected = next(e for e in reversed(events) if isinstance(e, Evaluation)).loss
    held_out = tasks.resolve(trained.data).held_out(trained.training.held_out)
    x, target = held_out.x_RTBI[0], held_out.target_RTBO[0]
    served = Predictor(last_checkpoint(events).weights)
    for r in range(2):
        y = np.stack(served.predict(list(x.swapaxes(0, 1)), replica=r).outputs)
        assert np.mean((y - target.swapaxes(0, 1)) ** 2) == pytest.approx(expected[r], rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "pointer", "code"),
    [
        ({"inputs": [[[1, 2]], [[1, 2], [3]]]}, "/inputs/1/1", "wrong_width"),
        ({"inputs": [[[1, 2]], [[1, 2]], [[1, 2]], np.zeros((4, 3))]}, "/inputs/3/0", "wrong_width"),
        ({"inputs": [[[1, 2]], [[1, 2]], []]}, "/inputs/2", "empty_sequence"),
        ({"inputs": [[[1, 2], [1e39, 0]]]}, "/inputs/0/1/0", "not_finite"),
        ({"inputs": [[[1, float("nan")]]]}, "/inputs/0/0/1", "not_finite"),
        ({"inputs": [[["a", "b"]]]}, "/inputs/0", "not_numbers"),
        ({"inputs": [[1, 2]]}, "/inputs/0", "not_numbers"),
        ({"inputs": [[[1, [2]]]]}, "/inputs/0", "not_numbers"),
        ({"inputs": [[[1, 2]]], "states": []}, "/state", "wrong_shape"),
        ({"inputs": [[[1, 2]]], "states": [[]]}, "/state/0/layers", "wrong_shape"),
        ({"inputs": [[[1, 2]]], "states": [[{"h": [0] * 4}]]}, "/state/0/layers/0/h", "wrong_shape"),
        ({"inputs": [[[1, 2]]], "states": [[{}]]}, "/state/0/layers/0/h", "wrong_shape"),
        ({"inputs": [[[1, 2]]], "states": [[{"h": [[0] * 5] * 3}]]}, "/state/0/layers/0/h", "wrong_shape"),
        ({"inputs": [[[1, 2]]], "states": [[{"h": [0] * 5}]], "replica": "all"}, "/state/0/layers/0/h", "wrong_shape"),
        ({"inputs": [[[1, 2]]], "states": [[{"h": [1e39] * 5}]]}, "/state/0/layers/0/h", "not_finite"),
        ({"inputs": [[[1, 2]]], "replica": 3}, "/replica", "out_of_range"),
        ({"inputs": [np.zeros((4_000_001, 2))]}, "/inputs", "too_many_values"),
    ],
)
def test_input_that_does_not_fit_the_network_is_refused_where_it_is_wrong(
    arguments: dict[str, Any], pointer: str, code: str
):
    with pytest.raises(InputError) as error:
        predictor().predict(**arguments)
    assert (error.value.pointer, error.value.code) == (pointer, code)


def test_a_torn_checkpoint_is_not_served():
    content = dump_weights(network(), "float32", parameters.initialise(network(), 0, 1))
    with pytest.raises(CheckpointError):
        Predictor(content[:-1])
