"""What each cell lists so that all proofs of cells run for it: a few configurations. And what those proofs share.

A new cell adds a line to `EXAMPLES`; `tests/oracles/test_cells.py` then holds all that computes it against its
equations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rnn.bptt.whole import BPTT
from rnn.cells.facts import LayerEngine, facts
from rnn.networks import parameters
from rnn.reference import equations
from unroll.contract import FeedForwardCell, GRUCell, LeakyCell, LinearCell, Loss, LSTMCell, Network, VanillaCell

H = 4
EXAMPLES: dict[str, list[Any]] = {
    "vanilla": [
        VanillaCell(hidden_size=H, activation=f)
        for f in ("tanh", "relu", "leaky_relu", "softplus", "sigmoid", "identity", "saturated_relu")
    ],
    "linear": [LinearCell(hidden_size=H)],
    "feedforward": [FeedForwardCell(hidden_size=H)],
    "leaky": [
        LeakyCell(hidden_size=H, activation=f, leak=leak, dt=0.5, tau=tau, learn_tau=learn)
        for f, (tau, learn) in zip(
            ("tanh", "softplus", "relu", "sigmoid"),
            ((4.0, "no"), ([1.0, 2.0, 3.0, 4.0], "no"), (3.0, "shared"), ([1.0, 2.0, 3.0, 4.0], "per_unit")),
            strict=True,
        )
        for leak in ("rates", "potentials")
    ],
    "lstm": [LSTMCell(hidden_size=H, forget_bias=1.0)],
    "gru": [GRUCell(hidden_size=H)],
}
"""Each cell's configurations of H units, by its type: every kind of activation, of leak, of what may be learned."""
CELLS: list[Any] = [cell for examples in EXAMPLES.values() for cell in examples]


def name_of(cell: Any) -> str:
    return "-".join(
        str(value) for value in (cell.type, *(getattr(cell, k, "") for k in ("activation", "leak"))) if value
    )


RUNS: list[Any] = [
    pytest.param(cell, engine, id=f"{name_of(cell)}-{engine}")
    for cell in CELLS
    for engine in ("workspace", "native")
    if engine == "workspace" or facts(cell).native is not None
]
"""Every cell on every engine that has it; the kernel's float64 is there for this."""


def network(cell: Any, layers: int = 1, **fields: Any) -> Network:
    h0 = "trainable" if facts(cell).recurrent else "zeros"
    return Network(**({"cell": cell, "input_size": 2, "output_size": 3, "num_layers": layers, "h0": h0} | fields))


def parameters_of(net: Network, replicas: int) -> torch.Tensor:
    flat_RP = parameters.initialise(net, 3, replicas, "float64")
    # Initial states start at zero; here they are to matter.
    initial = tuple(f".{name}0" for name in facts(net.cell).states)
    for name, tensor in parameters.views(flat_RP, net).items():
        if name.endswith(initial):
            tensor[...] = np.random.default_rng(1).standard_normal(tensor.shape) / 2
    return torch.from_numpy(flat_RP)


def run(
    net: Network, flat_RP: torch.Tensor, T: int, B: int, loss: Loss | None = None, engine: LayerEngine = "auto"
) -> tuple[BPTT, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The engine after two batches (what the first leaves must not matter), its gradients, and the second batch."""
    gradients_RP = torch.full_like(flat_RP, 99.0)
    bptt = BPTT(net, flat_RP, gradients_RP, T, B, loss, engine=engine)
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):
        x, target = (
            torch.randn(len(flat_RP), T, B, width, dtype=torch.float64, generator=generator)
            for width in (net.input_size, net.output_size)
        )
        if loss is not None and loss.type != "mse":
            target = target.softmax(-1)
        bptt.x_RTBI.copy_(x)
        bptt.target_RTBO.copy_(target)
        bptt.forward()
        bptt.backward()
    return bptt, gradients_RP, x, target


def by_autograd(
    net: Network, flat_RP: torch.Tensor, x: torch.Tensor, target: torch.Tensor, loss: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = flat_RP.double().clone().requires_grad_()
    losses = []
    for r in range(len(leaf)):
        tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
        y = equations.outputs(torch, net, tensors, x[r])
        losses.append(equations.cost(torch, loss, y, target[r, -len(y) :]))
    torch.stack(losses).sum().backward()
    assert leaf.grad is not None
    return torch.stack(losses).detach(), leaf.grad


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b).norm() / b.norm())
