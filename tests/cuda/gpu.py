"""Where these tests run, and small jobs for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rnn.events import Event
from rnn.training.run import train
from unroll.contract import Connectivity, Dale, GRUCell, LeakyCell, LSTMCell, Network, Noise, TrainJob, VanillaCell

GPU = "cuda"
NETWORKS: dict[str, Callable[[], Network]] = {
    "vanilla": lambda: network(VanillaCell(hidden_size=8)),
    "lstm": lambda: network(LSTMCell(hidden_size=8), num_layers=2),
    "gru with a trainable start": lambda: network(GRUCell(hidden_size=8), h0="trainable"),
    "masked, Dale's law": lambda: network(
        VanillaCell(hidden_size=8, activation="relu"),
        connectivity=Connectivity(dale=Dale(excitatory=0.75), density=0.5, autapses=False),
    ),
    "leaky, noise, learned tau": lambda: network(
        LeakyCell(hidden_size=8, tau=4.0, learn_tau="per_unit", noise=Noise(input=0.1, recurrent=0.1, output=0.1))
    ),
}


def network(cell: Any, **fields: Any) -> Network:
    return Network(**({"cell": cell, "input_size": 1, "output_size": 1} | fields))


def on(device: str, job: TrainJob, **arguments: Any) -> list[Event]:
    return list(train(job, device=device, **arguments))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """The distance of `a` from `b`, which lies on the CPU in float64."""
    return float((a.cpu().double() - b).norm() / b.norm())
