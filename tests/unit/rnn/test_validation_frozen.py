"""What is refused because nothing could come of it, and constraints that leave an initialisation as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn.errors import ConfigurationError
from rnn.networks import parameters
from rnn.training.problem import Problem
from rnn.training.validation import validate
from unroll.contract import Network, TrainJob

H = 3
ALL, RING = [[1] * H] * H, [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
WEIGHTS = ["W_xh", "W_hh", "W_hy"]
BELOW = ["W_xh", "b_x", "W_hh", "b_h"]


def made(connectivity: dict[str, Any], penalties: dict[str, float] | None = None, **fields: Any) -> TrainJob:
    data = fields.pop("data", {"name": "integrate_noise", "parameters": {"length": 4}})
    training = {"steps": 2, "batch_size": 2, "regularisation": penalties or {}, **fields.pop("training", {})}
    model = {"cell": {"type": "vanilla", "hidden_size": H}, "input_size": 1, "output_size": 1} | fields
    return TrainJob.model_validate(
        {"model": model | {"connectivity": connectivity}, "data": data, "training": training}
    )


def reverse(connectivity: dict[str, Any], forcing: float, penalties: dict[str, float], **fields: Any) -> TrainJob:
    return made(
        connectivity,
        penalties,
        data={"name": "reverse", "parameters": {"symbols": 3, "length": 2}},
        training={"loss": {"type": "cross_entropy"}, "teacher_forcing": forcing},
        **{"architecture": "encoder_decoder", "input_size": 3, "output_size": 3, "feedback": "softmax"} | fields,
    )


@pytest.mark.parametrize("penalty", ["omega", "orthogonality"])
@pytest.mark.parametrize(
    "connectivity", [{"frozen": ["W_hh"]}, {"frozen_weights": ALL}, {"mask": RING, "frozen_weights": RING}]
)
def test_penalties_on_a_recurrence_that_cannot_change_are_refused(connectivity: dict[str, Any], penalty: str):
    validate(Problem.of(made(connectivity)))
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(made(connectivity, {penalty: 0.1})))
    assert error.value.pointer == f"/training/regularisation/{penalty}"


@pytest.mark.parametrize(
    ("penalty", "frozen"), [("l1", WEIGHTS), ("l2", WEIGHTS), ("activity", BELOW), ("activity", [*BELOW, "W_hy"])]
)
def test_penalties_on_what_is_frozen_are_refused_and_one_free_tensor_is_enough(penalty: str, frozen: list[str]):
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(made({"frozen": frozen}, {penalty: 0.1})))
    assert error.value.pointer == f"/training/regularisation/{penalty}"
    validate(Problem.of(made({"frozen": frozen[1:]}, {penalty: 0.1})))


def test_a_free_decoder_s_activity_depends_on_the_readout():
    validate(Problem.of(reverse({"frozen": BELOW}, 0.5, {"activity": 0.1})))
    with pytest.raises(ConfigurationError, match="activity"):
        validate(Problem.of(reverse({"frozen": BELOW}, 1.0, {"activity": 0.1})))


def test_a_network_of_which_all_that_may_exist_is_frozen_is_refused():
    frozen = ["W_xh", "b_x", "b_h", "W_hy", "b_y"]
    validate(Problem.of(made({"mask": ALL, "frozen_weights": RING, "frozen": frozen})))
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(made({"mask": RING, "frozen_weights": RING, "frozen": frozen})))
    assert error.value.pointer == "/model/connectivity/frozen_weights"


def test_what_passes_the_check_can_be_started_decoders_included():
    refused = 0
    for seed in range(40):
        wanted = reverse(
            {"density": 0.4, "autapses": False, "seed": seed}, 1.0, {}, initialisation={"type": "spectral_radius"}
        )
        try:
            validate(Problem.of(wanted))
        except ConfigurationError as error:
            assert error.pointer == "/model/initialisation"  # noqa: PT017 - either is right, by seed
            refused += 1
            continue
        assert isinstance(wanted.model, Network)
        parameters.initialise(wanted.model, 0, 1)
    assert 0 < refused < 40


@pytest.mark.parametrize(
    ("kind", "connectivity"),
    [
        ("identity", {"dale": {"excitatory": 1.0}}),
        ("identity", {"mask": np.eye(H, dtype=int).tolist()}),
        ("identity", {"symmetry": "symmetric"}),
        ("identity", {"mask": ALL}),
        ("orthogonal", {"mask": ALL}),
    ],
)
def test_constraints_that_leave_an_initialisation_as_it_is_are_welcome(kind: str, connectivity: dict[str, Any]):
    wanted = made(connectivity, initialisation={"type": kind})
    validate(Problem.of(wanted))
    assert isinstance(wanted.model, Network)
    W_hh = parameters.views(parameters.initialise(wanted.model, 0, 1), wanted.model)["layers.0.W_hh"][0]
    np.testing.assert_allclose(W_hh @ W_hh.T, np.eye(H), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "connectivity"),
    [
        ("identity", {"autapses": False}),
        ("identity", {"dale": {"signs": [1, 1, -1]}}),
        ("identity", {"density": 0.9}),
        ("identity", {"mask": RING}),
        ("orthogonal", {"mask": RING}),
        ("orthogonal", {"dale": {"excitatory": 1.0}}),
        ("orthogonal", {"symmetry": "symmetric"}),
    ],
)
def test_constraints_that_would_change_an_initialisation_are_refused(kind: str, connectivity: dict[str, Any]):
    with pytest.raises(ConfigurationError, match="would change the"):
        validate(Problem.of(made(connectivity, initialisation={"type": kind})))


def test_a_window_of_the_only_step_is_refused():
    wanted = made(
        {},
        data={"name": "xor"},
        input_size=2,
        architecture="one_to_one",
        training={"bptt": {"window": 1}, "loss": {"type": "bce"}},
    )
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(wanted))
    assert (error.value.pointer, error.value.code) == ("/training/bptt/window", "not_available")
