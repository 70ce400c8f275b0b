"""Engines whose passes are recorded as CUDA graphs: every cell, with what a network and its training can add to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn import parameters
from rnn.bptt import BPTT
from rnn.cells import cudnn
from rnn.kernels import Engine
from rnn.truncated import TruncatedBPTT
from unroll.contract import (
    BCE,
    MSE,
    CrossEntropy,
    DType,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    Noise,
    PoissonNLL,
    VanillaCell,
)

H, T, B = 4, 7, 3
CELLS: list[Any] = [
    *(
        VanillaCell(hidden_size=H, activation=f)
        for f in ("tanh", "sigmoid", "softplus", "relu", "leaky_relu", "saturated_relu", "identity")
    ),
    LinearCell(hidden_size=H),
    FeedForwardCell(hidden_size=H),
    *(
        LeakyCell(hidden_size=H, leak=leak, learn_tau=learned, noise=Noise(input=0.1, recurrent=0.1, output=0.1))
        for leak in ("rates", "potentials")
        for learned in ("no", "per_unit")
    ),
    LSTMCell(hidden_size=H),
    GRUCell(hidden_size=H),
]
KINDS: list[dict[str, Any]] = [
    {},
    {"architecture": "many_to_one"},
    {"h0": "trainable"},
    {"window": 3},
    {"window": 3, "architecture": "many_to_one"},
    {"activity": 0.1},
    {"omega": 0.1},
    {"loss": BCE()},
    {"loss": CrossEntropy()},
    {"loss": PoissonNLL(), "weighted": True},
]


def runs(cell: Any, engine: Engine, kind: dict[str, Any]) -> bool:
    """Whether there is such a network, and such an engine for it."""
    if cell.type == "feedforward" and "h0" in kind:
        return False
    if "omega" in kind and (engine == "cudnn" or cell.type not in ("vanilla", "leaky", "linear")):
        return False
    return engine == "workspace" or cudnn.runs(cell)


RUNS: list[Any] = [
    pytest.param(cell, engine, replicas, kind, id=f"{engine}-{cell.type}-{k}-R{replicas}-{kind}")
    for k, cell in enumerate(CELLS)
    for engine, replicas in (("workspace", 1), ("workspace", 2), ("cudnn", 1))
    # An activation changes one operation, whatever is around it.
    for kind in (KINDS if cell.type != "vanilla" or cell.activation in ("tanh", "softplus") else KINDS[:1])
    if runs(cell, engine, kind)
]


def made(
    cell: Any, engine: Engine, replicas: int, kind: dict[str, Any], device: str = "cpu", dtype: DType = "float32"
) -> tuple[BPTT | TruncatedBPTT, torch.Tensor, torch.Tensor]:
    fields = {name: kind[name] for name in ("architecture", "h0") if name in kind}
    net = Network(cell=cell, input_size=2, output_size=3, num_layers=2, **fields)
    flat_RP = torch.from_numpy(parameters.initialise(net, 1, replicas, dtype)).to(device)
    gradients_RP = torch.zeros_like(flat_RP)
    rest = {name: value for name, value in kind.items() if name not in ("architecture", "h0", "loss")}
    noisy = isinstance(cell, LeakyCell)
    kind_of = TruncatedBPTT if "window" in kind else BPTT
    bptt = kind_of(net, flat_RP, gradients_RP, T, B, kind.get("loss", MSE()), noisy=noisy, engine=engine, **rest)
    return bptt, flat_RP, gradients_RP
