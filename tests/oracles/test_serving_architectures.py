"""What networks of every architecture answer, against their equations, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn.errors import InputError
from rnn.networks import parameters
from rnn.networks.weights import dump_weights
from rnn.reference import equations
from rnn.serving.predictor import Engine, Predictor
from unroll.contract import GRUCell, LeakyCell, LSTMCell, Network, VanillaCell

R, H, I, O, V, STEPS = 2, 4, 2, 3, 5, 6  # noqa: E741
CELLS = [
    VanillaCell(hidden_size=H),
    LSTMCell(hidden_size=H),
    GRUCell(hidden_size=H),
    LeakyCell(hidden_size=H, leak="potentials"),
]
KINDS: dict[str, dict[str, Any]] = {
    "one_to_one": {},
    "one_to_many": {},
    "one_to_many of tokens": {"vocabulary_size": V},
    "many_to_one of tokens": {"vocabulary_size": V},
    "encoder_decoder": {},
    "encoder_decoder of tokens": {"vocabulary_size": V, "feedback": "softmax"},
    "encoder_decoder of counts": {"feedback": "exp"},
    "encoder_decoder of events": {"feedback": "sigmoid"},
}


def made(cell: Any, kind: str, engine: Engine = "auto") -> tuple[Network, Predictor, Any]:
    net = Network(
        cell=cell,
        input_size=I,
        output_size=O,
        architecture=kind.split(maxsplit=1)[0],
        num_layers=2,
        **KINDS[kind],  # type: ignore[arg-type]
    )
    flat_RP = parameters.initialise(net, 3, R, "float64")
    return net, Predictor(dump_weights(net, "float64", flat_RP), engine), parameters.views(flat_RP, net)


def sequences(net: Network, lengths: list[int]) -> list[Any]:
    generator = np.random.default_rng(1)
    if net.vocabulary_size:
        return [generator.integers(0, V, (length, 1)).astype(float) for length in lengths]
    return [generator.standard_normal((length, I)) for length in lengths]


@pytest.mark.parametrize("engine", ["auto", "numpy"])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.type)
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_answers_what_its_equations_say(cell: Any, kind: str, engine: Engine):
    net, predictor, weights = made(cell, kind, engine)
    posted = sequences(net, [1, 1] if kind.startswith("one") else [3, 7, 1])
    steps = STEPS if net.architecture in {"one_to_many", "encoder_decoder"} else None
    found = predictor.predict(posted, replica="all", want=frozenset({"outputs", "state"}), steps=steps)
    assert found.outputs is not None
    for i, x in enumerate(posted):
        for r in range(R):
            tensors = {name: tensor[r] for name, tensor in weights.items()}
            y = equations.outputs(np, net, tensors, x[:, None], steps=STEPS, feedback=net.feedback)[:, 0]
            expected = y[-1] if net.architecture in {"one_to_one", "many_to_one"} else y
            np.testing.assert_allclose(found.outputs[i][r], expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("engine", ["auto", "numpy"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_does_not_depend_on_the_sequences_beside_it(kind: str, engine: Engine):
    net, predictor, _ = made(GRUCell(hidden_size=H), kind, engine)
    posted = sequences(net, [1] * 9 if kind.startswith("one") else [2, 9, 4, 4, 1, 7, 3, 8, 5])
    steps = STEPS if net.architecture in {"one_to_many", "encoder_decoder"} else None
    together = predictor.predict(posted, steps=steps).outputs
    for i, x in enumerate(posted):
        alone = predictor.predict([x], steps=steps).outputs
        assert together is not None
        assert alone is not None
        assert np.array_equal(together[i], alone[0])


def test_fewer_outputs_are_the_first_of_more():
    net, predictor, _ = made(LSTMCell(hidden_size=H), "encoder_decoder")
    posted = sequences(net, [4])
    few, more = (predictor.predict(posted, steps=steps).outputs for steps in (3, 8))
    assert few is not None
    assert more is not None
    assert np.array_equal(few[0], more[0][:3])


@pytest.mark.parametrize(
    ("kind", "lengths", "options", "pointer", "code"),
    [
        ("encoder_decoder", [3], {}, "/steps", "missing"),
        ("one_to_many", [1], {}, "/steps", "missing"),
        ("one_to_one", [1], {"steps": 3}, "/steps", "contradiction"),
        ("one_to_one", [1, 2], {}, "/inputs/1", "wrong_length"),
        ("one_to_many", [2], {"steps": 3}, "/inputs/0", "wrong_length"),
        ("encoder_decoder", [3], {"steps": 3, "states": [[]]}, "/state", "contradiction"),
    ],
)
def test_what_an_architecture_cannot_take_is_refused_with_its_place(
    kind: str, lengths: list[int], options: dict[str, Any], pointer: str, code: str
):
    net, predictor, _ = made(VanillaCell(hidden_size=H), kind)
    with pytest.raises(InputError) as error:
        predictor.predict(sequences(net, lengths), **options)
    assert (error.value.pointer, error.value.code) == (pointer, code)


@pytest.mark.parametrize("wrong", [-1.0, float(V), 0.5])
def test_what_is_no_token_is_refused_with_its_place(wrong: float):
    _, predictor, _ = made(VanillaCell(hidden_size=H), "many_to_one of tokens")
    with pytest.raises(InputError) as error:
        predictor.predict([[[1.0], [wrong]]])
    assert (error.value.pointer, error.value.code) == ("/inputs/0/1/0", "not_a_token")
