"""The cells, on every engine that has them, and the small problems that several oracles share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn import kernels, parameters
from unroll.contract import (
    FeedForwardCell,
    GRUCell,
    LeakyCell,
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
    if engine == "workspace" or kernels.runs(cell)
]


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
