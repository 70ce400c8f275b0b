"""Engines whose passes are recorded as CUDA graphs: every cell, with what a network and its training can add to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnn.bptt.encoder_decoder import EncoderDecoder
from rnn.bptt.engine import BPTTEngine
from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from rnn.cells.facts import LayerEngine, facts
from rnn.networks import parameters
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

H, T, B, VOCABULARY = 4, 7, 3, 5
OF_NETWORK = ("architecture", "h0", "vocabulary_size")
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
    {"architecture": "one_to_many"},
    {"architecture": "encoder_decoder"},
    {"architecture": "encoder_decoder", "mixed": True, "ragged": True},
    {"architecture": "encoder_decoder", "mixed": True, "ragged": True, "weighted": True, "activity": 0.1},
    {"vocabulary_size": VOCABULARY},
    {"h0": "trainable"},
    {"window": 3},
    {"window": 3, "architecture": "many_to_one"},
    {"activity": 0.1},
    {"omega": 0.1},
    {"architecture": "encoder_decoder", "activity": 0.1, "omega": 0.1},
    {"loss": BCE()},
    {"loss": CrossEntropy()},
    {"loss": PoissonNLL(), "weighted": True},
]


def runs(cell: Any, engine: LayerEngine, kind: dict[str, Any]) -> bool:
    """Whether there is such a network, and such an engine for it."""
    about = facts(cell)
    if not about.recurrent and ("h0" in kind or kind.get("architecture") == "encoder_decoder"):
        return False
    if "omega" in kind and (engine == "cudnn" or about.beside_W_hh or not about.recurrent):
        return False
    return engine == "workspace" or about.cudnn is not None


def meets_every_kind(cell: Any) -> bool:
    """An activation changes one operation, whatever is around it; a tau that is not learned only leaves some out."""
    if cell.type == "vanilla":
        return cell.activation in ("tanh", "softplus")
    return cell.type != "leaky" or cell.learn_tau != "no"


RUNS: list[Any] = [
    pytest.param(cell, engine, replicas, kind, id=f"{engine}-{cell.type}-{k}-R{replicas}-{kind}")
    for k, cell in enumerate(CELLS)
    for engine, replicas in (("workspace", 1), ("workspace", 2), ("cudnn", 1))
    for kind in (KINDS if meets_every_kind(cell) else KINDS[:1])
    if runs(cell, engine, kind)
]


def made(
    cell: Any, engine: LayerEngine, replicas: int, kind: dict[str, Any], device: str = "cpu", dtype: DType = "float32"
) -> tuple[BPTTEngine, torch.Tensor, torch.Tensor]:
    """The engine, its parameters and its gradients."""
    fields = {name: kind[name] for name in OF_NETWORK if name in kind}
    net = Network(cell=cell, input_size=2, output_size=3, num_layers=2, **fields)
    flat_RP = torch.from_numpy(parameters.initialise(net, 1, replicas, dtype)).to(device)
    gradients_RP = torch.zeros_like(flat_RP)
    rest: dict[str, Any] = {name: value for name, value in kind.items() if name not in (*OF_NETWORK, "loss")}
    rest |= {"noisy": facts(cell).leak is not None, "engine": engine}
    flat, loss = (flat_RP, gradients_RP), kind.get("loss", MSE())
    bptt: BPTTEngine
    if net.architecture == "encoder_decoder":
        bptt = EncoderDecoder(net, *flat, T, T - 2, B, loss, **rest)
    elif "window" in kind:
        bptt = TruncatedBPTT(net, *flat, T, B, loss, **rest)
    else:
        bptt = BPTT(net, *flat, T, B, loss, **rest)
    return bptt, flat_RP, gradients_RP


def drawn(bptt: BPTTEngine, kind: dict[str, Any], seed: int) -> list[torch.Tensor]:
    """Something to fill the engine's memory with, on the CPU."""
    random = torch.Generator().manual_seed(seed)
    memory, values = bptt.memory, []
    for tensor in memory.all():
        numbers = torch.rand(tensor.shape, generator=random)
        if tensor is memory.length_RB:
            numbers = 1 + (numbers * T).floor()
        elif tensor is memory.forced_RTB:
            numbers = numbers.round()
        elif tensor is memory.x_RTBI and "vocabulary_size" in kind:
            numbers = (numbers * VOCABULARY).floor()
        values.append(numbers)
    return values
