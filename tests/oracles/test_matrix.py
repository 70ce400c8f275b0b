"""Every cell on every engine under every constraint, architecture and window, with every penalty that the cell has."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from rnn.bptt.constraints import Constraints
from rnn.bptt.penalties import WeightPenalty
from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from rnn.cells.facts import facts
from rnn.events import Checkpoint
from rnn.networks import connectivity
from rnn.reference import equations
from tests.oracles.cases import covers, distance, every_cell, every_constraint, point, steps_from
from tests.oracles.reference import by_autograd
from tests.unit.rnn.jobs import bits, job, only, run
from unroll.contract import MSE, AdamW, Network, Regularisation

H, T, B = 4, 5, 2
CELLS, CONSTRAINTS = every_cell(H), every_constraint(H)
ARCHITECTURES = ("many_to_many", "many_to_one")
WINDOWS = (None, 2)
NETWORKS = [
    (cell, constraint) for cell in CELLS for constraint in CONSTRAINTS if cell != "feedforward" or constraint == "free"
]
ENGINES = ("workspace", "native")
ON_ENGINES = [
    (cell, constraint, engine)
    for (cell, constraint), engine in itertools.product(NETWORKS, ENGINES)
    if engine == "workspace" or (facts(CELLS[cell]).native is not None)
]
# Columns fill whole vectors of the kernel, whole ones and a half, and with H half a one alone.
WIDE = [
    (cell, constraint, "native", hidden)
    for cell, constraint, hidden in itertools.product(CELLS, ("free", "dale-sparse-no-autapses"), (16, 20, 33))
    if (facts(CELLS[cell]).native is not None)
]


def crossed(cases: list[tuple[Any, ...]], *more: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Each case with each combination of more parameters."""
    return [(*case, *values) for case in cases for values in itertools.product(*more)]


def covers_widths(case: dict[str, Any]) -> bool:
    """Wide layers unconstrained, as the vectors of a kernel do not know which weights were constrained."""
    how = case["architecture"], case["window"]
    if case["hidden"] == H:
        return covers(case, usual=how == ("many_to_one", 2))
    return case["constraint"] == "free" and how in {("many_to_many", None), ("many_to_one", 2)}


def network(cell: str, constraint: str, architecture: str = "many_to_many", hidden: int = H, **fields: Any) -> Network:
    return Network.model_validate(
        {
            "cell": every_cell(hidden)[cell],
            "input_size": 2,
            "output_size": 2,
            "num_layers": 2,
            "h0": "zeros" if cell == "feedforward" else "trainable",
            "architecture": architecture,
            "connectivity": every_constraint(hidden)[constraint],
        }
        | fields
    )


@cache
def batch(replicas: int, first: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of so many of three replicas."""
    generator = torch.Generator().manual_seed(1)
    x, target = (torch.randn(3, T, B, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    return x[first : first + replicas], target[first : first + replicas]


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
    net: Network, raw_RP: torch.Tensor, config: Regularisation, window: int | None, engine: Any, first: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Losses, penalties and raw gradients after one batch; a batch before it must not matter.

    It is the batch of the replicas from `first` on.
    """
    constraints = Constraints(net, raw_RP)
    gradients_RP = torch.full_like(raw_RP, 99.0)
    weights = WeightPenalty(net, config, constraints.used, gradients_RP)
    more: dict[str, Any] = {"activity": config.activity, "omega": config.omega, "engine": engine}
    flat = constraints.used, gradients_RP
    bptt: Any = (
        BPTT(net, *flat, T, B, **more) if window is None else TruncatedBPTT(net, *flat, T, B, window=window, **more)
    )
    x, target = batch(len(raw_RP), first)
    for scale in (2.0, 1.0):
        bptt.x_RTBI.copy_(x * scale)
        bptt.target_RTBO.copy_(target)
        bptt.forward()
        bptt.backward()
    penalty_R = bptt.penalty_R + weights.add()
    constraints.pull_back(gradients_RP)
    return bptt.loss_R, penalty_R, gradients_RP


@pytest.mark.product(
    ("cell", "constraint", "engine", "hidden", "architecture", "window"),
    crossed([*((*run, H) for run in ON_ENGINES), *WIDE], ARCHITECTURES, WINDOWS),
    covers=covers_widths,
)
def test_losses_penalties_and_gradients_are_those_of_autograd(
    cell: str, constraint: str, engine: str, hidden: int, architecture: str, window: int | None
):
    """In both precisions; a window of all steps is none."""
    net, config = network(cell, constraint, architecture, hidden), penalties_of(cell, engine)
    raw_RP = point(net, 2)
    losses, penalties, expected = by_autograd(net, raw_RP, *batch(2), config, window)
    for given_RP, close, most in ((raw_RP, 1e-12, 1e-9), (raw_RP.float(), 2e-5, 2e-5)):
        for steps in (window,) if window else (None, T):
            loss_R, penalty_R, gradients_RP = computed(net, given_RP, config, steps, engine)
            assert loss_R.tolist() == pytest.approx(losses, rel=close)
            assert penalty_R.tolist() == pytest.approx(penalties, rel=close)
            assert distance(gradients_RP.double(), expected) < most


@pytest.mark.product(
    ("cell", "constraint", "architecture"),
    crossed(NETWORKS, ARCHITECTURES),
    covers=lambda case: covers(case, usual=case["architecture"] == "many_to_many"),
)
def test_losses_are_those_of_numpy_and_gradients_those_of_complex_steps_and_differences(
    cell: str, constraint: str, architecture: str
):
    """Through the constraint, on both engines. For differences: no activation has a kink, no free weight is near 0."""
    net = network(cell, constraint, architecture, num_layers=1)
    raw_RP = point(net, 1)
    x, target = (tensor[0].numpy() for tensor in batch(1))

    def cost(raw: dict[str, Any]) -> Any:
        y = equations.outputs(np, net, equations.used(np, net, raw), x)
        return equations.cost(np, MSE(), y, target[-len(y) :])

    value, complex_steps, differences = steps_from(cost, net, raw_RP[0].numpy())
    for engine in ENGINES[: 1 + (facts(CELLS[cell]).native is not None)]:
        loss_R, _, gradients_RP = computed(net, raw_RP, Regularisation(), None, engine)
        assert loss_R[0].item() == pytest.approx(value, rel=1e-12)
        assert distance(gradients_RP[0], complex_steps) < 1e-9
        assert distance(gradients_RP[0], differences) < 1e-6


@pytest.mark.product(
    ("cell", "constraint", "engine", "architecture", "replica"),
    crossed(ON_ENGINES, ARCHITECTURES, (0, 2)),
    covers=lambda case: covers(case, usual=case["architecture"] == "many_to_many"),
)
def test_the_first_and_the_last_replica_of_three_have_the_gradients_of_the_network_alone(
    cell: str, constraint: str, engine: str, architecture: str, replica: int
):
    """Which connections exist depends on a replica's number, so the last one's are given to it alone as a mask."""
    moved = replica > 0 and CONSTRAINTS[constraint].density < 1
    net, config = network(cell, constraint, architecture, num_layers=1 if moved else 2), penalties_of(cell, engine)
    raw_RP = point(net, 3)
    together = computed(net, raw_RP, config, None, engine)
    if moved:
        allowed: Any = connectivity.mask(net, 0, replica)
        own = {"density": 1.0, "mask": allowed.astype(int).tolist()}
        net = net.model_copy(update={"connectivity": net.connectivity.model_copy(update=own)})
    this = slice(replica, replica + 1)
    alone = computed(net, raw_RP[this].clone(), config, None, engine, replica)
    for many, one in zip(together, alone, strict=True):
        assert distance(many[this], one) < 1e-12


@pytest.mark.product(
    ("cell", "constraint", "window", "dtype"),
    [(*net, *how) for net in NETWORKS for how in ((None, "float32"), (2, "float32"), (2, "float64"))],
    covers=lambda case: covers(case, usual=(case["window"], case["dtype"]) == (2, "float32")),
)
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
