"""One training step (forward, MSE, backward, Adam) beside torch.nn.RNN: `python bench/step.py [--threads N]`.

Methods alternate within one process; the figure is the median of the paired ratios nn.RNN / ours (above 1: ours is
faster), with its quartiles. nn.RNN gets a fused Adam and its data for nothing; so do we. With R replicas its peer is R
nn.RNN networks, one after another. Only ratios hold on another machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from rnn import parameters
from rnn.bptt import BPTT
from rnn.optimizers import Optimizer
from unroll.contract import Adam, Network, VanillaCell


@dataclass(frozen=True)
class Shape:
    """Sizes of one comparison."""

    name: str
    I: int  # noqa: E741
    H: int
    O: int  # noqa: E741
    B: int
    T: int
    R: int = 1


SHAPES = [
    Shape("a1", 1, 100, 1, 64, 100),
    Shape("b", 32, 256, 8, 128, 200),
    Shape("demo, one replica", 1, 10, 1, 64, 20),
    Shape("demo, 8 replicas", 1, 10, 1, 64, 20, R=8),
    Shape("a1, 8 replicas", 1, 100, 1, 64, 100, R=8),
]


def ours(s: Shape) -> Callable[[], float]:
    """A step of the workspace engine with the fused Adam; returns the first replica's loss."""
    network = Network(cell=VanillaCell(hidden_size=s.H), input_size=s.I, output_size=s.O)
    optimizer = Optimizer(Adam(lr=1e-3), parameters.initialise(network, 0, s.R), torch.device("cpu"))
    gradients_RP = torch.zeros_like(optimizer.parameters)
    engine = BPTT(network, optimizer.parameters, gradients_RP, s.T, s.B)
    engine.x_RTBI.normal_()
    engine.target_RTBO.normal_()
    frozen_R = np.zeros(s.R, bool)

    def step() -> float:
        engine.forward()
        engine.backward()
        optimizer.step(gradients_RP, frozen_R)
        return float(engine.loss_R[0])

    return step


class Stock(torch.nn.Module):
    """torch.nn.RNN with a linear readout."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.recurrent = torch.nn.RNN(s.I, s.H)
        self.readout = torch.nn.Linear(s.H, s.O)

    def forward(self, x_TBI: torch.Tensor) -> torch.Tensor:
        """Outputs [T, B, O]."""
        y_TBO: torch.Tensor = self.readout(self.recurrent(x_TBI)[0])
        return y_TBO


def stock(s: Shape) -> Callable[[], float]:
    """A step of each of R stock networks."""
    networks = [Stock(s) for _ in range(s.R)]
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-3, fused=True) for network in networks]
    x, target = torch.randn(s.T, s.B, s.I), torch.randn(s.T, s.B, s.O)

    def step() -> float:
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(network(x), target)
            torch.autograd.backward(loss)
            optimizer.step()
        return loss.item()

    return step


def seconds(step: Callable[[], float], repeats: int) -> float:
    """Mean time of one call."""
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - started) / repeats


def main() -> None:
    """Print one line a shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} thread(s)")
    for shape in SHAPES:
        a, b = ours(shape), stock(shape)
        seconds(a, 3)
        repeats = max(1, int(0.15 / seconds(b, 2)))
        pairs = np.array([(seconds(a, repeats), seconds(b, repeats)) for _ in range(arguments.pairs)])
        low, ratio, high = np.percentile(pairs[:, 1] / pairs[:, 0], (25, 50, 75))
        mine, theirs = 1e3 * np.median(pairs, axis=0)
        print(f"{shape.name:18} {ratio:5.2f}x ({low:.2f}-{high:.2f})   ours {mine:8.3f} ms, nn.RNN {theirs:8.3f} ms")


if __name__ == "__main__":
    main()
