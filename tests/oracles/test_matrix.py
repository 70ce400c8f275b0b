"""Every cell on every engine under every constraint, architecture and window, with every penalty that the cell has."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from rnn import equations, kernels, parameters, reparametrise
from rnn.bptt import BPTT
from rnn.events import Checkpoint
from rnn.regularise import WeightPenalty
from rnn.reparametrise import Constraints
from rnn.truncated import TruncatedBPTT
from tests.oracles.cases import distance
from tests.oracles.reference import by_autograd
from tests.unit.rnn.jobs import bits, job, only, run
from unroll.contract import (
    MSE,
    AdamW,
    Connectivity,
    Dale,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    Regularisation,
    VanillaCell,
)

H, T, B = 4, 5, 2
BAND: Any = [[int(abs(i - j) < 2) for j in range(H)] for i in range(H)]
CONSTRAINTS: dict[str, Connectivity] = {
    "free": Connectivity(),
    "dale": Connectivity(dale=Dale(excitatory=0.5, readout="excitatory")),
    "signs": Connectivity(dale=Dale(signs=[1, -1, -1, 1])),
    "sparse": Connectivity(density=0.6),
    "no-autapses": Connectivity(autapses=False),
    "symmetric": Connectivity(symmetry="symmetric"),
    "antisymmetric": Connectivity(symmetry="antisymmetric"),
    "mask": Connectivity(mask=BAND),
    "dale-sparse-no-autapses": Connectivity(dale=Dale(), density=0.8, autapses=False),
    "symmetric-masked": Connectivity(symmetry="symmetric", mask=BAND),
    "antisymmetric-sparse": Connectivity(symmetry="antisymmetric", density=0.8, autapses=False),
    "symmetric-all-excite": Connectivity(symmetry="symmetric", dale=Dale(excitatory=1.0)),
}
CELLS: dict[str, Any] = {
    "vanilla": VanillaCell(hidden_size=H),
    "linear": LinearCell(hidden_size=H),
    "feedforward": FeedForwardCell(hidden_size=H),
    "rates": LeakyCell(hidden_size=H, leak="rates", tau=[2.0, 3.0, 4.0, 5.0]),
    "potentials": LeakyCell(hidden_size=H, leak="potentials", tau=3.0),
    "learned-tau": LeakyCell(hidden_size=H, leak="rates", tau=3.0, learn_tau="per_unit"),
    "lstm": LSTMCell(hidden_size=H),
    "gru": GRUCell(hidden_size=H),
}
ARCHITECTURES = ("many_to_many", "many_to_one")
NETWORKS = [
    (cell, constraint) for cell in CELLS for constraint in CONSTRAINTS if cell != "feedforward" or constraint == "free"
]
ENGINES = ("workspace", "native")
ON_ENGINES = [
    (cell, constraint, engine)
    for (cell, constraint), engine in itertools.product(NETWORKS, ENGINES)
    if engine == "workspace" or kernels.runs(CELLS[cell])
]


def network(cell: str, constraint: str, architecture: str = "many_to_many", **fields: Any) -> Network:
    return Network.model_validate(
        {
            "cell": CELLS[cell],
            "input_size": 2,
            "output_size": 2,
            "num_layers": 2,
            "h0": "zeros" if cell == "feedforward" else "trainable",
            "architecture": architecture,
            "connectivity": CONSTRAINTS[constraint],
        }
        | fields
    )


def point(net: Network, replicas: int) -> torch.Tensor:
    """Raw parameters where no constraint has been applied, and initial states that matter; exact in both precisions."""
    raw_RP = torch.from_numpy(reparametrise.raw(net, parameters.initialise(net, 2, replicas, "float64")))
    raw_RP += torch.randn(raw_RP.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 10
    return raw_RP.float().double()


@cache
def batch(replicas: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, target = (torch.randn(replicas, T, B, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, target


def penalties_of(cell: str, engine: str) -> Regularisation:
    """All at once: gradients add up, so a wrong one shows. Ω where the cell has one, on the engine that has it."""
    gated = cell in {"lstm", "gru", "feedforward"}
    return Regularisation(
        l1=0.03,
        l2=0.05,
        activity=0.3,
        orthogonality=0.0 if cell == "feedforward" else 0.02,
        omega=0.0 if gated or engine == "native" else 0.4,
    )


def computed(
    net: Network, raw_RP: torch.Tensor, config: Regularisation, window: int | None, engine: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Losses, penalties and raw gradients after one batch; a batch before it must not matter."""
    constraints = Constraints(net, raw_RP)
    gradients_RP = torch.full_like(raw_RP, 99.0)
    weights = WeightPenalty(net, config, constraints.used, gradients_RP)
    more: dict[str, Any] = {"activity": config.activity, "omega": config.omega, "engine": engine}
    flat = constraints.used, gradients_RP
    bptt: Any = (
        BPTT(net, *flat, T, B, **more) if window is None else TruncatedBPTT(net, *flat, T, B, window=window, **more)
    )
    x, target = batch(len(raw_RP))
    for scale in (2.0, 1.0):
        bptt.x_RTBI.copy_(x * scale)
        bptt.target_RTBO.copy_(target)
        bptt.forward()
        bptt.backward()
    penalty_R = bptt.penalty_R + weights.add()
    constraints.pull_back(gradients_RP)
    return bptt.loss_R, penalty_R, gradients_RP


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("cell", "constraint", "engine"), ON_ENGINES)
def test_losses_penalties_and_gradients_are_those_of_autograd(
    cell: str, constraint: str, engine: str, architecture: str, window: int | None
):
    """In both precisions; a window of all steps is none."""
    net, config = network(cell, constraint, architecture), penalties_of(cell, engine)
    raw_RP = point(net, 2)
    losses, penalties, expected = by_autograd(net, raw_RP, *batch(2), config, window)
    for given_RP, close, most in ((raw_RP, 1e-12, 1e-9), (raw_RP.float(), 2e-5, 2e-5)):
        for steps in (window,) if window else (None, T):
            loss_R, penalty_R, gradients_RP = computed(net, given_RP, config, steps, engine)
            assert loss_R.tolist() == pytest.approx(losses, rel=close)
            assert penalty_R.tolist() == pytest.approx(penalties, rel=close)
            assert distance(gradients_RP.double(), expected) < most


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("cell", "constraint"), NETWORKS)
def test_losses_are_those_of_numpy_and_gradients_those_of_complex_steps_and_differences(
    cell: str, constraint: str, architecture: str
):
    """Through the constraint, on both engines. For differences: no activation has a kink, no free weight is near 0."""
    net = network(cell, constraint, architecture, num_layers=1)
    raw_RP = point(net, 1)
    x, target = (tensor[0].numpy() for tensor in batch(1))

    def cost(flat: Any) -> Any:
        raw = {name: tensor[0] for name, tensor in parameters.views(flat[None], net).items()}
        y = equations.outputs(np, net, equations.used(np, net, raw), x)
        return equations.cost(np, MSE(), y, target[-len(y) :])

    place = raw_RP[0].numpy()
    units = np.eye(len(place))
    complex_steps = torch.from_numpy(np.array([cost(place + 1e-30j * unit).imag / 1e-30 for unit in units]))
    differences = torch.from_numpy(
        np.array([(cost(place + 1e-6 * unit) - cost(place - 1e-6 * unit)) / 2e-6 for unit in units])
    )
    for engine in ENGINES[: 1 + kernels.runs(CELLS[cell])]:
        loss_R, _, gradients_RP = computed(net, raw_RP, Regularisation(), None, engine)
        assert loss_R[0].item() == pytest.approx(cost(place), rel=1e-12)
        assert distance(gradients_RP[0], complex_steps) < 1e-9
        assert distance(gradients_RP[0], differences) < 1e-6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("cell", "constraint", "engine"), ON_ENGINES)
def test_the_first_replica_of_three_has_the_gradients_of_the_network_alone(
    cell: str, constraint: str, engine: str, architecture: str
):
    """The first, because which connections exist depends on a replica's number."""
    net, config = network(cell, constraint, architecture), penalties_of(cell, engine)
    raw_RP = point(net, 3)
    together = computed(net, raw_RP, config, None, engine)
    x, target = batch(3)
    alone_1P = raw_RP[:1].clone()
    constraints, gradients_1P = Constraints(net, alone_1P), torch.zeros_like(alone_1P)
    bptt = BPTT(net, constraints.used, gradients_1P, T, B, activity=config.activity, omega=config.omega, engine=engine)
    bptt.x_RTBI.copy_(x[:1])
    bptt.target_RTBO.copy_(target[:1])
    bptt.forward()
    bptt.backward()
    penalty_R = bptt.penalty_R + WeightPenalty(net, config, constraints.used, gradients_1P).add()
    constraints.pull_back(gradients_1P)
    assert together[1][0].item() == pytest.approx(penalty_R.item(), rel=1e-12)
    assert distance(together[2][:1], gradients_1P) < 1e-12


@pytest.mark.parametrize(("dtype", "window"), [("float32", None), ("float32", 2), ("float64", 2)])
@pytest.mark.parametrize(("cell", "constraint"), NETWORKS)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(cell: str, constraint: str, window: int | None, dtype: str):
    """In single precision on the kernel where it has the cell, in double precision in the workspace."""
    net = network(cell, constraint, input_size=1, output_size=1)
    config = penalties_of(cell, "native" if dtype == "float32" else "workspace")
    fields = {"steps": 4, "replicas": 2, "checkpoint_every": 2, "evaluate_every": 4, "batch_size": 2, "dtype": dtype}
    one = job(**fields, optimizer=AdamW(lr=0.1), regularisation=config, bptt={"window": window}).model_copy(
        update={"model": net}
    )
    whole = run(one)
    middle = next(event for event in only(Checkpoint, whole) if event.step == 2)
    resumed = run(one, resume=(middle.weights, middle.state))
    assert [bits(event) for event in resumed] == [bits(event) for event in whole if event.step > 2]
