"""Compares one training step with PyTorch's own modules: `python bench/step.py [--threads N]`.

A step is forward, MSE, backward and Adam. Ours on the native kernel, ours in the workspace (which runs without a
compiler) and nn.RNN, nn.LSTM or nn.GRU alternate within one process, with the same threads and allocator. The figures
are medians of the paired ratios peer / ours (above 1: ours is faster), with their quartiles. The peer gets a fused Adam
and its data at no cost, and so do we. With R replicas the peer is R networks, one after another. The last column is how
many GFLOP/s a step would have to reach for the native goal; bench/gemm.py says what products alone can reach. --json
FILE also writes the figures to a file. Only ratios hold on another machine, and with more than one thread only on a
machine that is otherwise idle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import interleave
import numpy as np
import torch
from interleave import Step

from rnn import kernels
from rnn.bptt.whole import BPTT
from rnn.cells.facts import LayerEngine
from rnn.networks import parameters
from rnn.training.optimisers import Optimizer
from unroll.contract import Adam, GRUCell, LSTMCell, Network, VanillaCell

CELLS = {
    "vanilla": (VanillaCell, torch.nn.RNN, 1),
    "lstm": (LSTMCell, torch.nn.LSTM, 4),
    "gru": (GRUCell, torch.nn.GRU, 3),
}


@dataclass(frozen=True)
class Shape:
    """The sizes of one comparison, and the ratios that are its goals (native, workspace)."""

    name: str
    cell: str
    I: int  # noqa: E741
    H: int
    O: int  # noqa: E741
    B: int
    T: int
    R: int = 1
    goals: tuple[float | None, float | None] = (None, None)

    @property
    def gigaflops(self) -> float:
        """The number of multiplications and additions of all GEMMs in one step, in 10⁹."""
        gates = CELLS[self.cell][2]
        return 2e-9 * self.R * self.T * self.B * self.H * (gates * (3 * self.H + 2 * self.I) + 3 * self.O)


SHAPES = [
    Shape("a1", "vanilla", 1, 100, 1, 64, 100, goals=(4.5, 2.2)),
    Shape("a2", "vanilla", 1, 100, 1, 64, 500, goals=(4.5, 2.0)),
    Shape("a3", "vanilla", 1, 100, 1, 256, 100, goals=(2.7, 1.5)),
    Shape("a4", "vanilla", 1, 100, 1, 256, 500, goals=(2.5, 1.5)),
    Shape("b", "vanilla", 32, 256, 8, 128, 200, goals=(2.2, 1.3)),
    Shape("c", "vanilla", 1, 64, 1, 32, 2000, goals=(9, 3)),
    Shape("lstm a1", "lstm", 1, 100, 1, 64, 100, goals=(2.4, None)),
    Shape("lstm b", "lstm", 32, 256, 8, 128, 200, goals=(1.5, None)),
    Shape("lstm c", "lstm", 1, 64, 1, 32, 2000, goals=(3, None)),
    Shape("gru a1", "gru", 1, 100, 1, 64, 100, goals=(1.7, None)),
    Shape("gru b", "gru", 32, 256, 8, 128, 200, goals=(1.3, None)),
    Shape("gru c", "gru", 1, 64, 1, 32, 2000, goals=(3, None)),
    Shape("a1 32 replicas", "vanilla", 1, 100, 1, 64, 100, R=32, goals=(5, 3)),
    Shape("demo", "vanilla", 1, 10, 1, 64, 20),
    Shape("demo 8 replicas", "vanilla", 1, 10, 1, 64, 20, R=8),
]


def ours(s: Shape, engine: LayerEngine) -> Step:
    """Return a step of the engine with the fused Adam. The step returns the first replica's loss."""
    network = Network(cell=CELLS[s.cell][0](hidden_size=s.H), input_size=s.I, output_size=s.O)
    start_RP = parameters.initialise(network, 0, s.R)
    optimizer = Optimizer(Adam(lr=1e-3), start_RP, torch.device("cpu"), native=engine == "native")
    gradients_RP = torch.zeros_like(optimizer.parameters)
    bptt = BPTT(network, optimizer.parameters, gradients_RP, s.T, s.B, engine=engine)
    bptt.x_RTBI.normal_()
    bptt.target_RTBO.normal_()
    resting_R = np.zeros(s.R, bool)

    def step() -> float:
        with bptt.threads():
            bptt.forward()
            bptt.backward()
            optimizer.step(gradients_RP, resting_R)
        return float(bptt.loss_R[0])

    return step


class Stock(torch.nn.Module):
    """PyTorch's recurrent module with a linear readout."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.recurrent = CELLS[s.cell][1](s.I, s.H)
        self.readout = torch.nn.Linear(s.H, s.O)

    def forward(self, x_TBI: torch.Tensor) -> torch.Tensor:
        """Return the outputs [T, B, O]."""
        y_TBO: torch.Tensor = self.readout(self.recurrent(x_TBI)[0])
        return y_TBO


def stock(s: Shape) -> Step:
    """Return a step of each of R PyTorch networks."""
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


def compare(shape: Shape, rounds: int) -> dict[str, Any]:
    """Return the times and ratios of one shape."""
    methods: dict[str, Step] = {"workspace": ours(shape, "workspace"), "peer": stock(shape)}
    if kernels.available():
        methods["native"] = ours(shape, "native")
    times = interleave.take_turns(methods, rounds)
    result: dict[str, Any] = {**asdict(shape), "milliseconds": {}, "ratio": {}, "gflops": {}}
    for name, taken in times.items():
        result["milliseconds"][name] = round(1e3 * float(np.median(taken)), 4)
        result["gflops"][name] = round(shape.gigaflops / float(np.median(taken)), 1)
        if name != "peer":
            result["ratio"][name] = interleave.ratio(times["peer"], taken)
    return result


def row(result: dict[str, Any]) -> list[str]:
    """Return one row of the table."""
    sizes = "/".join(str(result[axis]) for axis in "IHOBTR")
    cells = [f"{result['name']} ({sizes})"]
    for name, goal in zip(("native", "workspace"), result["goals"], strict=True):
        found = result["ratio"].get(name)
        cells += [interleave.show(found) if found else "not built", f"{goal:g}" if goal else "none"]
    times = [result["milliseconds"].get(name, float("nan")) for name in ("native", "workspace", "peer")]
    goal, speed = result["goals"][0], result["gflops"]
    needed = f"{speed['peer'] * goal:.0f}" if goal else "none"
    return [*cells, *(f"{time:.3g}" for time in times), f"{speed.get('native', float('nan')):.0f}", needed]


def main() -> None:
    """Print one row for each shape."""
    arguments = interleave.parser(__doc__, rounds=15).parse_args()
    interleave.keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    conditions = interleave.about(arguments.threads)
    print(", ".join(f"{name} {value}" for name, value in conditions.items()))
    print("peer / ours, with quartiles; milliseconds a step; the kernel's GFLOP/s\n")
    head = (
        "shape (I/H/O/B/T/R)",
        "native",
        "goal",
        "workspace",
        "goal",
        "native ms",
        "workspace ms",
        "peer ms",
        "GFLOP/s",
        "for the goal",
    )
    table = interleave.Table(head, markdown=arguments.markdown)
    wanted, results = interleave.wanted(arguments.shapes), []
    for shape in SHAPES:
        if not wanted or shape.name in wanted:
            results.append(compare(shape, arguments.rounds))
            table.row(row(results[-1]))
    interleave.save(arguments.json, conditions, results)


if __name__ == "__main__":
    main()
