"""Constraints hold by construction, survive training and are certified; their gradients: `test_matrix`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn.errors import ConfigurationError
from rnn.events import Checkpoint
from rnn.networks import connectivity, parameters
from rnn.networks.weights import load_weights
from rnn.training.problem import Problem
from rnn.training.validation import validate
from tests.unit.rnn.jobs import bits, job, last_checkpoint, only, run
from unroll.contract import (
    Adam,
    Connectivity,
    Dale,
    DaleBalanced,
    FeedForwardCell,
    Gaussian,
    GRUCell,
    Identity,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    Orthogonal,
    SpectralRadius,
    TrainJob,
    VanillaCell,
)

H = 6
BAND: Any = [[int(abs(i - j) < 3) for j in range(H)] for i in range(H)]
CONSTRAINTS: dict[str, Connectivity] = {
    "dale": Connectivity(dale=Dale(excitatory=0.5, readout="excitatory")),
    "signs": Connectivity(dale=Dale(signs=[1, -1, -1, 1, 1, -1])),
    "sparse": Connectivity(density=0.4),
    "no-autapses": Connectivity(autapses=False),
    "symmetric": Connectivity(symmetry="symmetric"),
    "antisymmetric": Connectivity(symmetry="antisymmetric"),
    "mask": Connectivity(mask=BAND),
    "dale-sparse-no-autapses": Connectivity(dale=Dale(), density=0.6, autapses=False),
    "symmetric-sparse-no-autapses": Connectivity(symmetry="symmetric", density=0.6, autapses=False),
    "antisymmetric-masked": Connectivity(symmetry="antisymmetric", mask=BAND),
    "symmetric-all-excite": Connectivity(symmetry="symmetric", dale=Dale(excitatory=1.0)),
}
CELLS: list[Any] = [
    VanillaCell(hidden_size=H),
    LeakyCell(hidden_size=H, leak="potentials", learn_tau="per_unit"),
    LSTMCell(hidden_size=H),
    GRUCell(hidden_size=H),
]


def network(cell: Any, constraint: Connectivity, **fields: Any) -> Network:
    return Network(cell=cell, input_size=1, output_size=1, connectivity=constraint, **fields)


def training(net: Network, **fields: Any) -> TrainJob:
    return job(**fields).model_copy(update={"model": net})


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.type)
def test_no_checkpoint_of_a_training_run_breaks_its_constraint(cell: Any, name: str):
    net = network(cell, CONSTRAINTS[name], num_layers=2)
    events = run(training(net, steps=12, replicas=2, optimizer=Adam(lr=0.3), checkpoint_every=3))
    checkpoints = only(Checkpoint, events)
    assert len(checkpoints) >= 4
    for checkpoint in checkpoints:
        assert checkpoint.certificate is not None
        assert [layer.violations for layer in checkpoint.certificate.layers] == [[0, 0], [0, 0]]
        tensors = load_weights(checkpoint.weights).tensors
        for n in range(2):
            W = tensors[f"layers.{n}.W_hh"].reshape(2, -1, H, H)
            if "symmetric" in name:
                assert np.array_equal(W, -W.swapaxes(2, 3) if name.startswith("anti") else W.swapaxes(2, 3))
            if not net.connectivity.autapses:
                assert not W[:, :, range(H), range(H)].any()
            if name == "signs":
                assert (np.array([1, -1, -1, 1, 1, -1]) * W >= 0).all()
    first, last = (load_weights(checkpoints[k].weights).tensors["layers.0.W_hh"] for k in (0, -1))
    assert not np.array_equal(first, last), "the weights that may change were trained"


def test_a_broken_constraint_is_counted():
    net = network(CELLS[0], CONSTRAINTS["dale-sparse-no-autapses"])
    tensors = {name: tensor.copy() for name, tensor in parameters.views(parameters.initialise(net, 0, 1), net).items()}
    W = tensors["layers.0.W_hh"][0]
    W[2, 2] = 1.0
    sending = np.argwhere(W[:, 0] != 0)[0, 0]
    W[sending, 0] *= -1
    found = connectivity.certificate(net, tensors)
    assert found is not None
    assert found.layers[0].violations == [2]


@pytest.mark.parametrize("name", ["dale", "antisymmetric-masked"])
def test_a_constrained_run_resumes_bit_for_bit(name: str):
    fields = {"steps": 9, "replicas": 2, "checkpoint_every": 4, "optimizer": Adam(lr=0.1)}
    one = training(network(LeakyCell(hidden_size=H, learn_tau="shared"), CONSTRAINTS[name]), **fields)
    whole = run(one)
    middle = next(event for event in only(Checkpoint, whole) if event.step == 4)
    resumed = run(one, resume=(middle.weights, middle.state))
    assert [bits(event) for event in resumed] == [bits(event) for event in whole if event.step > 4]


def test_frozen_tensors_keep_their_initial_values():
    net = network(VanillaCell(hidden_size=H), Connectivity(frozen=["W_hh", "W_xh"], density=0.5))
    start = parameters.views(parameters.initialise(net, 0, 2), net)
    tensors = load_weights(last_checkpoint(run(training(net, replicas=2))).weights).tensors
    for name, tensor in tensors.items():
        assert np.array_equal(tensor, start[name]) == name.endswith(("W_hh", "W_xh"))


def test_exactly_the_density_of_connections_exists_and_replicas_differ():
    net = network(VanillaCell(hidden_size=20), Connectivity(density=0.25, autapses=False))
    masks = [connectivity.mask(net, 0, r) for r in range(2)]
    assert [m.sum() for m in masks if m is not None] == [95, 95]
    assert not np.array_equal(masks[0], masks[1])


@pytest.mark.parametrize("how", [SpectralRadius(radius=0.7), DaleBalanced(radius=1.2)])
def test_a_spectral_radius_is_what_was_asked_for(how: Any):
    constraint = Connectivity(dale=Dale(), density=0.5)
    net = network(VanillaCell(hidden_size=40), constraint, initialisation=how)
    W = parameters.views(parameters.initialise(net, 1, 2, "float64"), net)["layers.0.W_hh"]
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(W)).max(1), how.radius, rtol=1e-5)
    found = connectivity.certificate(net, {"layers.0.W_hh": W})
    assert found is not None
    np.testing.assert_allclose(found.layers[0].spectral_radius, how.radius, rtol=1e-5)


def test_balance_removes_the_outlier_that_dale_s_law_makes():
    radii = []
    for how in (Gaussian(), DaleBalanced(radius=1.0)):
        net = network(VanillaCell(hidden_size=100), Connectivity(dale=Dale()), initialisation=how)
        moduli = np.sort(
            np.abs(np.linalg.eigvals(parameters.views(parameters.initialise(net, 0, 1), net)["layers.0.W_hh"][0]))
        )
        radii.append(moduli[-1] / moduli[-3])
    assert radii[0] > 2, "unbalanced: one eigenvalue far outside the others"
    assert radii[1] < 1.5


def test_orthogonal_identity_and_gaussian_starts():
    W = {}
    for how in (Orthogonal(gain=1.5), Identity(scale=0.5), Gaussian(gain=2.0)):
        net = network(VanillaCell(hidden_size=200), Connectivity(), initialisation=how)
        tensors = parameters.views(parameters.initialise(net, 0, 1, "float64"), net)
        W[how.type] = tensors["layers.0.W_hh"][0]
    np.testing.assert_allclose(W["orthogonal"] @ W["orthogonal"].T, 2.25 * np.eye(200), atol=1e-12)
    assert np.array_equal(W["identity"], 0.5 * np.eye(200))
    assert W["gaussian"].std() * np.sqrt(200) == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("symmetry", ["symmetric", "antisymmetric"])
def test_a_gaussian_start_is_as_wide_with_symmetry_as_without(symmetry: Any):
    net = network(VanillaCell(hidden_size=200), Connectivity(symmetry=symmetry), initialisation=Gaussian(gain=2.0))
    W = parameters.views(parameters.initialise(net, 0, 1, "float64"), net)["layers.0.W_hh"][0] * np.sqrt(200)
    assert W[np.triu_indices(200, 1)].std() == pytest.approx(2.0, rel=0.02)
    assert np.diag(W).std() == pytest.approx(2.0 if symmetry == "symmetric" else 0.0, rel=0.15)


@pytest.mark.parametrize(("hidden", "density"), [(5, 0.5), (9, 0.25)])
def test_the_density_of_an_antisymmetric_network_is_of_what_it_can_have(hidden: int, density: float):
    net = network(VanillaCell(hidden_size=hidden), Connectivity(symmetry="antisymmetric", density=density))
    for r in range(8):
        allowed = connectivity.mask(net, 0, r)
        assert allowed is not None
        assert allowed.sum() == 2 * round(density * hidden * (hidden - 1) / 2)


def test_a_replica_whose_connections_make_no_cycle_is_found_before_it_is_trained():
    sparse = network(
        VanillaCell(hidden_size=16), Connectivity(density=0.1, autapses=False), initialisation=SpectralRadius()
    )
    masks = [connectivity.mask(sparse, 0, r) for r in range(256)]
    radii = [np.abs(np.linalg.eigvals(m.astype(float))).max() for m in masks if m is not None]
    unlucky = int(np.argmax(np.array(radii) < 1e-3))
    assert radii[unlucky] < 1e-3
    with pytest.raises(ConfigurationError, match="make no cycle") as refused:
        validate(Problem.of(training(sparse).model_copy(update={"replicas": unlucky + 1})))
    assert refused.value.pointer == "/model/initialisation"
    if unlucky:
        validate(Problem.of(training(sparse).model_copy(update={"replicas": unlucky})))


BAD: dict[str, tuple[Any, str]] = {
    "dale-antisymmetric": (
        {"connectivity": Connectivity(dale=Dale(), symmetry="antisymmetric")},
        "connectivity/symmetry",
    ),
    "dale-symmetric": ({"connectivity": Connectivity(dale=Dale(), symmetry="symmetric")}, "connectivity/symmetry"),
    "mask-and-density": (
        {"connectivity": Connectivity(mask=[[1] * H for _ in range(H)], density=0.5)},
        "connectivity/density",
    ),
    "mask-shape": ({"connectivity": Connectivity(mask=[[1]])}, "connectivity/mask"),
    "mask-asymmetric": (
        {"connectivity": Connectivity(mask=[[int(i <= j) for j in range(H)] for i in range(H)], symmetry="symmetric")},
        "connectivity/mask",
    ),
    "signs-length": ({"connectivity": Connectivity(dale=Dale(signs=[1, -1]))}, "connectivity/dale/signs"),
    "nothing-to-read": (
        {"connectivity": Connectivity(dale=Dale(excitatory=0.0, readout="excitatory"))},
        "connectivity/dale/readout",
    ),
    "no-inhibitory-unit": (
        {"cell": VanillaCell(hidden_size=2), "connectivity": Connectivity(dale=Dale(excitatory=0.8))},
        "connectivity/dale/excitatory",
    ),
    "no-excitatory-unit": ({"connectivity": Connectivity(dale=Dale(excitatory=0.01))}, "connectivity/dale/excitatory"),
    "identity-no-autapses": (
        {"connectivity": Connectivity(autapses=False), "initialisation": Identity()},
        "initialisation",
    ),
    "orthogonal-dale": ({"connectivity": Connectivity(dale=Dale()), "initialisation": Orthogonal()}, "initialisation"),
    "balance-without-dale": ({"initialisation": DaleBalanced()}, "initialisation"),
    "identity-lstm": ({"cell": LSTMCell(hidden_size=H), "initialisation": Identity()}, "initialisation"),
    "feedforward-dale": (
        {"cell": FeedForwardCell(hidden_size=H), "connectivity": Connectivity(dale=Dale())},
        "connectivity",
    ),
    "feedforward-h0": ({"cell": FeedForwardCell(hidden_size=H), "h0": "trainable"}, "h0"),
    "tau-below-dt": ({"cell": LeakyCell(hidden_size=H, dt=2.0, tau=1.0)}, "cell/tau"),
    "tau-learned-at-dt": ({"cell": LeakyCell(hidden_size=H, tau=1.00000001, learn_tau="per_unit")}, "cell/tau"),
    "one-tau-from-several": (
        {"cell": LeakyCell(hidden_size=H, tau=[2.0] * (H - 1) + [9.0], learn_tau="shared")},
        "cell/tau",
    ),
    "no-connection": ({"connectivity": Connectivity(mask=[[0] * H for _ in range(H)])}, "connectivity/mask"),
    "density-rounds-to-none": ({"connectivity": Connectivity(density=0.001)}, "connectivity/density"),
    "one-unit-alone": (
        {"cell": VanillaCell(hidden_size=1), "connectivity": Connectivity(autapses=False)},
        "connectivity/autapses",
    ),
    "all-frozen": (
        {"connectivity": Connectivity(frozen=["W_xh", "b_x", "W_hh", "b_h", "W_hy", "b_y"])},
        "connectivity/frozen",
    ),
    "all-frozen-singly": (
        {
            "connectivity": Connectivity(
                frozen=["W_xh", "b_x", "b_h", "W_hy", "b_y"], frozen_weights=[[1] * H for _ in range(H)]
            )
        },
        "connectivity/frozen_weights",
    ),
    "dt-lost-in-float32": ({"cell": LeakyCell(hidden_size=H, dt=1e-7, tau=1.0)}, "cell/dt"),
    "frozen-twice": ({"connectivity": Connectivity(frozen=["b_x", "b_x"])}, "connectivity/frozen/1"),
    "frozen-not-there": (
        {"cell": LinearCell(hidden_size=H), "connectivity": Connectivity(frozen=["b_x"])},
        "connectivity/frozen/0",
    ),
    "frozen-whole-and-single": (
        {"connectivity": Connectivity(frozen=["W_hh"], frozen_weights=[[1] * H for _ in range(H)])},
        "connectivity/frozen_weights",
    ),
    "fraction-and-signs": (
        {"connectivity": Connectivity(dale=Dale(excitatory=0.5, signs=[1] * H))},
        "connectivity/dale/excitatory",
    ),
    "radius-without-a-cycle": (
        {
            "connectivity": Connectivity(mask=[[int(i < j) for j in range(H)] for i in range(H)]),
            "initialisation": SpectralRadius(),
        },
        "initialisation",
    ),
    "tau-length": ({"cell": LeakyCell(hidden_size=H, tau=[5.0, 5.0])}, "cell/tau"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_contradiction_is_refused_with_its_place_and_reason(name: str):
    fields, pointer = BAD[name]
    net = Network(**({"cell": VanillaCell(hidden_size=H), "input_size": 1, "output_size": 1} | fields))
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(training(net)))
    assert error.value.pointer == f"/model/{pointer}"
    assert len(error.value.detail) > 15
