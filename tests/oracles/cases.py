"""The cells, on every engine that has them, and the small problems that several oracles share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from rnn import kernels
from rnn.bptt import constraints as reparametrise
from rnn.cells.facts import facts
from rnn.networks import parameters
from unroll.contract import (
    Connectivity,
    Dale,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    VanillaCell,
)

H = 5


CELLS: list[Any] = [
    VanillaCell(hidden_size=H),
    LeakyCell(hidden_size=H, leak="rates"),
    LeakyCell(hidden_size=H, leak="potentials", activation="softplus"),
    LSTMCell(hidden_size=H),
    GRUCell(hidden_size=H),
    FeedForwardCell(hidden_size=H),
]


# Every engine that this machine has, with the cells it runs.
RUNS: list[Any] = [
    pytest.param(cell, engine, id=f"{engine}-{cell.type}-{getattr(cell, 'leak', '')}")
    for engine in ("workspace", *(("native",) if kernels.available() else ()))
    for cell in CELLS
    if engine == "workspace" or (facts(cell).native is not None)
]


@cache
def every_cell(H: int) -> dict[str, Any]:
    """With H units: the cells of the matrices, each kind of leak and of learned tau among them."""
    return {
        "vanilla": VanillaCell(hidden_size=H),
        "linear": LinearCell(hidden_size=H),
        "feedforward": FeedForwardCell(hidden_size=H),
        "rates": LeakyCell(hidden_size=H, leak="rates", tau=[2.0 + i % 4 for i in range(H)]),
        "potentials": LeakyCell(hidden_size=H, leak="potentials", activation="sigmoid", tau=3.0),
        "learned-tau": LeakyCell(hidden_size=H, leak="rates", tau=3.0, learn_tau="per_unit"),
        "learned-shared-tau": LeakyCell(hidden_size=H, leak="potentials", tau=2.0, learn_tau="shared"),
        "lstm": LSTMCell(hidden_size=H),
        "gru": GRUCell(hidden_size=H),
    }


@cache
def every_constraint(H: int) -> dict[str, Connectivity]:
    """On W_hh of H units: the constraints of the matrices, alone and together."""
    band: Any = [[int(abs(i - j) < 2) for j in range(H)] for i in range(H)]
    signs: Any = [(1, -1, -1, 1)[i % 4] for i in range(H)]
    return {
        "free": Connectivity(),
        "dale": Connectivity(dale=Dale(excitatory=0.5, readout="excitatory")),
        "signs": Connectivity(dale=Dale(signs=signs)),
        "sparse": Connectivity(density=0.6),
        "no-autapses": Connectivity(autapses=False),
        "symmetric": Connectivity(symmetry="symmetric"),
        "antisymmetric": Connectivity(symmetry="antisymmetric"),
        "mask": Connectivity(mask=band),
        "dale-sparse-no-autapses": Connectivity(dale=Dale(), density=0.8, autapses=False),
        "symmetric-masked": Connectivity(symmetry="symmetric", mask=band),
        "antisymmetric-sparse": Connectivity(symmetry="antisymmetric", density=0.8, autapses=False),
        "symmetric-all-excite": Connectivity(symmetry="symmetric", dale=Dale(excitatory=1.0)),
    }


COMPOSITE = "dale-sparse-no-autapses"
"""The constraint that every cell meets. It has signs, a mask of each replica's own and a diagonal of zeros."""

CONSTRAINED = ("learned-tau", "gru")
"""The cells that meet every constraint. One has a tau that is constrained as well, the other several blocks in W_hh."""


def covers(case: dict[str, Any], *, usual: bool) -> bool:
    """Return whether a case of a matrix belongs to the set that `make test` runs, which covers the other cases.

    The set has every case without constraints. A constraint is applied before a layer reads its weights and pulled back
    after the layer has written its gradients, so it can go wrong together with the blocks of W_hh or a learned tau, but
    not together with an engine, an architecture or a window. Therefore the set has constraints only where these are
    `usual`. docs/mutants.md shows that the set finds what all cases find; `make test-all` runs all cases.
    """
    if case["constraint"] == "free":
        return True
    return usual and (case["constraint"] == COMPOSITE or case["cell"] in CONSTRAINED)


def point(net: Network, replicas: int) -> torch.Tensor:
    """Raw parameters where no constraint has been applied, and initial states that matter; exact in both precisions."""
    raw_RP = torch.from_numpy(reparametrise.raw(net, parameters.initialise(net, 2, replicas, "float64")))
    raw_RP += torch.randn(raw_RP.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 10
    return raw_RP.float().double()


def steps_from(cost: Callable[[Any], Any], net: Network, place: Any) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The cost of one replica's raw tensors at `place`, and its gradients by complex steps and central differences."""

    def costs(step: complex, only: slice = slice(None)) -> Any:
        """With one parameter after the other moved by `step`, in the same memory each time."""
        flat = place + 0 * step
        raw = {name: tensor[0] for name, tensor in parameters.views(flat[None], net).items()}
        found = []
        for k in range(len(flat))[only]:
            flat[k] += step
            found.append(cost(raw))
            flat[k] = place[k]
        return np.array(found)

    value = float(costs(0.0, slice(1))[0])
    differences = (costs(1e-6) - costs(-1e-6)) / 2e-6
    return value, torch.from_numpy(costs(1e-30j).imag / 1e-30), torch.from_numpy(differences)


def network(cell: Any, **fields: Any) -> Network:
    return Network(**({"cell": cell, "input_size": 2, "output_size": 1, "num_layers": 2} | fields))


def problem(net: Network, R: int = 2, T: int = 7, B: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    flat_RP = torch.from_numpy(parameters.initialise(net, 2, R, "float64"))
    x, target = (torch.randn(R, T, B, width, dtype=torch.float64, generator=generator) for width in (2, 1))
    return flat_RP, x, target


def loss_and_gradients(engine: Any, x: torch.Tensor, target: torch.Tensor, gradients: torch.Tensor) -> Any:
    for _ in range(2):
        engine.x_RTBI.copy_(x)
        engine.target_RTBO.copy_(target)
        engine.forward()
        engine.backward()
    return engine.loss_R.clone(), gradients.clone()


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())
