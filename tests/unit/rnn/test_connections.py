"""What can be said about connections without drawing them is what drawing them shows."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from rnn.errors import ConfigurationError
from rnn.networks import connectivity, validation
from rnn.networks.parameters import initialise
from rnn.training.problem import Problem
from rnn.training.validation import validate
from tests.unit.rnn.jobs import job
from unroll.contract import Network, SpectralRadius


def network(H: int, **fields: Any) -> Network:
    return Network.model_validate(
        {"cell": {"hidden_size": H}, "input_size": 1, "output_size": 1, "connectivity": fields}
    )


def every(H: int) -> list[dict[str, Any]]:
    """Combinations of all constraints on H units."""
    eye, empty = np.eye(H, dtype=int).tolist(), np.zeros((H, H), int).tolist()
    options: dict[str, list[Any]] = {
        "density": [1.0, 0.5, 0.02],
        "mask": [None, eye, empty, (1 - np.eye(H, dtype=int)).tolist(), np.ones((H, H), int).tolist()],
        "symmetry": ["none", "symmetric", "antisymmetric"],
        "autapses": [True, False],
        "dale": [None, {"excitatory": 1.0}, {"excitatory": 0.5}],
    }
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


@pytest.mark.parametrize("H", [2, 5])
def test_whether_any_connection_is_left_is_known_without_a_draw(H: int):
    for fields in every(H):
        if fields["mask"] is None or fields["density"] == 1:
            made = network(H, **fields)
            allowed = connectivity.mask(made, 0, 0)
            assert connectivity.connects(made) == (allowed is None or bool(allowed.any())), fields


@pytest.mark.parametrize("H", [3, 5])
def test_whether_constraints_leave_a_matrix_unchanged_is_known_without_the_matrix(H: int):
    orthogonal, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((H, H)))
    for fields in every(H):
        if fields["density"] == 1:
            made = network(H, **fields)
            for kind, matrix in (("identity", np.eye(H)), ("orthogonal", orthogonal)):
                unchanged = bool((connectivity.constrain(made, matrix, 0, 0) == matrix).all())
                # a constraint may leave one orthogonal matrix as it is, but not all of them
                if kind == "identity" or fields["dale"] is None:
                    assert validation._leaves(kind, made) == unchanged, (kind, fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"connectivity": {"density": 0.5}},
        {"connectivity": {"autapses": False}},
        {"connectivity": {"symmetry": "antisymmetric"}},
        {"initialisation": "identity"},
        {"initialisation": "orthogonal"},
        {"initialisation": "spectral_radius", "connectivity": {"density": 0.0005}, "num_layers": 16},
    ],
    ids=str,
)
def test_the_largest_networks_are_checked_without_drawing_their_connections(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
):
    drawn: list[int] = []
    mask = connectivity.mask

    def counted(network: Network, layer: int, replica: int) -> Any:
        drawn.append(network.cell.hidden_size**2)
        assert sum(drawn) <= 1_000_000
        return mask(network, layer, replica)

    monkeypatch.setattr(connectivity, "mask", counted)
    for H in (1_000, 16_384):
        model = {"cell": {"hidden_size": H}, "input_size": 1, "output_size": 1} | fields
        drawn.clear()
        validation.validate_network(Network.model_validate(model))


def test_connections_that_the_check_did_not_draw_are_found_when_the_run_begins(monkeypatch: pytest.MonkeyPatch):
    one_connection = network(10, density=0.01, autapses=False)
    sparse = one_connection.model_copy(update={"initialisation": SpectralRadius()})
    problem = Problem.of(job().with_model(sparse))
    monkeypatch.setattr(connectivity, "_MOST_DRAWN", 0)
    validate(problem)
    with pytest.raises(ConfigurationError) as refused:
        initialise(problem.network, 0, 1)
    assert refused.value.code == "no_spectral_radius"
    monkeypatch.undo()
    with pytest.raises(ConfigurationError):
        validate(problem)
