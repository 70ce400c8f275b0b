"""Weights that keep their initial values, one by one, while the others learn, whatever moves parameters."""

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
from tests.unit.rnn.jobs import bits, job, only, run
from unroll.contract import (
    SGD,
    Adam,
    AdamW,
    ClipByValue,
    Connectivity,
    Dale,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LSTMCell,
    Network,
    Orthogonal,
    Regularisation,
    RMSprop,
    TrainJob,
    VanillaCell,
)

H = 6
SOME = np.random.default_rng(4).random((H, H)) < 0.4
BOTH_WAYS = SOME | SOME.T
CELLS: list[Any] = [
    VanillaCell(hidden_size=H),
    LeakyCell(hidden_size=H, leak="potentials", learn_tau="per_unit"),
    LSTMCell(hidden_size=H),
    GRUCell(hidden_size=H),
]
BESIDE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "mask": {"mask": [[int(abs(i - j) < 3) for j in range(H)] for i in range(H)]},
    "dale-sparse": {"dale": Dale(excitatory=0.5), "density": 0.7},
    "symmetric": {"symmetry": "symmetric"},
    "antisymmetric-no-autapses": {"symmetry": "antisymmetric", "autapses": False},
}
OPTIMISERS = [
    Adam(lr=0.1),
    AdamW(lr=0.1, weight_decay=0.5),
    RMSprop(lr=0.05, momentum=0.9),
    SGD(lr=0.1, momentum=0.9),
]


def training(frozen: Any, cell: Any = CELLS[0], **fields: Any) -> TrainJob:
    """Fields of the connectivity, and `job` with those of the job."""
    rest = fields.pop("job", {})
    matrix = None if frozen is None else np.asarray(frozen).astype(int).tolist()
    net = Network(
        cell=cell,
        input_size=1,
        output_size=1,
        num_layers=fields.pop("num_layers", 2),
        initialisation=fields.pop("initialisation", {"type": "uniform"}),
        connectivity=Connectivity(frozen_weights=matrix, **fields),
    )
    return job(**({"steps": 12, "replicas": 2, "checkpoint_every": 6} | rest)).model_copy(update={"model": net})


def recurrent(tensors: Any, layer: int) -> Any:
    W = tensors[f"layers.{layer}.W_hh"]
    return W.reshape(len(W), -1, H, H)


@pytest.mark.parametrize("optimizer", OPTIMISERS, ids=lambda o: o.type)
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.type)
def test_frozen_weights_keep_every_bit_and_the_others_learn(cell: Any, beside: str, optimizer: Any):
    constraint = BESIDE[beside]
    frozen = BOTH_WAYS if "symmetry" in constraint else SOME
    fields = {"optimizer": optimizer, "regularisation": Regularisation(l2=0.1, orthogonality=0.01)}
    one = training(frozen, cell, **constraint, job=fields)
    net: Any = one.model
    start = parameters.views(parameters.initialise(net, one.seed, 2), net)
    checkpoints = only(Checkpoint, run(one))
    assert checkpoints[-1].step == 12
    for checkpoint in checkpoints:
        assert checkpoint.certificate is not None
        assert [layer.violations for layer in checkpoint.certificate.layers] == [[0, 0], [0, 0]]
        tensors = load_weights(checkpoint.weights).tensors
        for layer in range(2):
            before, after = recurrent(start, layer), recurrent(tensors, layer)
            assert np.array_equal(after[..., frozen], before[..., frozen])
            for replica in range(2):
                allowed = connectivity.mask(net, layer, replica)
                free = ~frozen if allowed is None else ~frozen & allowed
                if constraint.get("symmetry") == "antisymmetric":
                    np.fill_diagonal(free, val=False)
                assert free.any()
                assert (after[replica][:, free] != before[replica][:, free]).mean() > 0.9


def test_a_weight_that_is_not_frozen_has_the_gradient_that_it_has_beside_free_ones():
    """One step of gradient descent without clipping: freezing some weights changes nothing in the others."""
    frozen, free = (
        load_weights(only(Checkpoint, run(training(matrix, job={"steps": 1, "optimizer": SGD(lr=0.1)})))[-1].weights)
        for matrix in (SOME, None)
    )
    for name, tensor in free.tensors.items():
        compared = np.where(SOME, 0, 1) if name.endswith("W_hh") else 1
        assert np.array_equal(frozen.tensors[name] * compared, tensor * compared)


def test_a_run_with_frozen_weights_resumes_bit_for_bit():
    fields = {"optimizer": AdamW(lr=0.1), "clip": ClipByValue(max_value=0.1)}
    one = training(SOME, **BESIDE["dale-sparse"], job=fields)
    whole = run(one)
    middle = next(event for event in only(Checkpoint, whole) if event.step == 6)
    resumed = run(one, resume=(middle.weights, middle.state))
    assert [bits(event) for event in resumed] == [bits(event) for event in whole if event.step > 6]


def test_a_frozen_weight_that_moved_is_counted():
    net: Any = training(SOME, num_layers=1).model
    start, moved = (parameters.views(parameters.initialise(net, 0, 2), net) for _ in range(2))
    i, j = np.argwhere(SOME)[0]
    k, n = np.argwhere(~SOME)[0]
    moved["layers.0.W_hh"][1, i, j] += 0.5
    moved["layers.0.W_hh"][1, k, n] += 0.5
    found = connectivity.certificate(net, moved, start)
    assert found is not None
    assert found.layers[0].violations == [0, 1]


def test_frozen_weights_do_not_keep_a_network_from_its_orthogonal_start():
    one = training(SOME, initialisation=Orthogonal())
    validate(Problem.of(one))
    net: Any = one.model
    W = parameters.views(parameters.initialise(net, 0, 1, "float64"), net)["layers.0.W_hh"][0]
    np.testing.assert_allclose(W @ W.T, np.eye(H), atol=1e-12)


@pytest.mark.parametrize(
    ("frozen", "fields", "pointer"),
    [
        ([[1, 0]], {}, "connectivity/frozen_weights"),
        (SOME[:, :-1], {}, "connectivity/frozen_weights"),
        (SOME, {"symmetry": "symmetric"}, "connectivity/frozen_weights"),
        (SOME, {"symmetry": "antisymmetric"}, "connectivity/frozen_weights"),
        (SOME, {"cell": FeedForwardCell(hidden_size=H)}, "connectivity"),
    ],
)
def test_frozen_weights_of_another_shape_or_symmetry_are_refused_with_the_reason(
    frozen: Any, fields: dict[str, Any], pointer: str
):
    with pytest.raises(ConfigurationError) as error:
        validate(Problem.of(training(frozen, **fields)))
    assert error.value.pointer == f"/model/{pointer}"
    assert len(error.value.detail) > 20
