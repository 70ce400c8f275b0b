"""Compares one training step on a GPU with PyTorch's own: `python bench/gpu.py [--json FILE] [--markdown]`.

A step is forward, MSE, backward and Adam. All sides take turns within one process, timed by CUDA events. A figure is
the median of the paired ratios peer / ours (above 1: ours is faster) with its quartiles. Our sides are `cudnn` and
`workspace`, both as CUDA graphs, and `eager`, the workspace without its graph. After every step ours also checks
whether a replica diverged, which waits for the GPU; the peers never wait. The peers are PyTorch's modules on cuDNN; the
same recorded as one graph; and, for what cuDNN cannot do (masks, leaks with noise, many networks at once), the code
that people write instead.

Without a GPU the script says so and leaves with code 3. `--device cpu --small` runs all of it on a CPU in a few
seconds, to see that the script works; those figures mean nothing.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import gpu_peers
import interleave
import numpy as np
import torch
from interleave import Step
from step import CELLS, SHAPES, Shape

from rnn.bptt import cuda
from rnn.bptt.constraints import Constraints
from rnn.bptt.cuda_graphs import Passes
from rnn.bptt.whole import BPTT
from rnn.cells.facts import LayerEngine
from rnn.networks import parameters
from rnn.training.optimisers import Optimizer
from unroll.contract import Adam, Connectivity, Dale, LeakyCell, Network, Noise

NO_GPU = 3
LEAKY = LeakyCell(hidden_size=1, tau=10.0, noise=Noise(recurrent=0.1))
Peers = dict[str, Callable[[], Step]]


@dataclass(frozen=True)
class Case:
    """A network of a shape, our engines for it, and the peers that they are compared with."""

    shape: Shape
    network: Network
    engines: tuple[LayerEngine, ...]
    peers: Peers


def cases(device: torch.device, *, small: bool) -> list[Case]:
    """Return all comparisons."""
    made = []
    for s in SHAPES:
        if small:
            s = replace(s, H=8, B=3, T=5, R=min(s.R, 3))  # noqa: PLW2901
        network = Network(cell=CELLS[s.cell][0](hidden_size=s.H), input_size=s.I, output_size=s.O)
        peers: Peers = {"modules": lambda s=s: gpu_peers.modules(s, device)}  # type: ignore[misc]
        if s.R > 1:
            peers["vmap"] = lambda s=s: gpu_peers.vmapped(s, device)  # type: ignore[misc]
        elif device.type == "cuda":
            peers["recorded"] = lambda s=s: gpu_peers.recorded(s, device)  # type: ignore[misc]
        made.append(Case(s, network, ("workspace",) if s.R > 1 else ("cudnn", "workspace"), peers))

        if s.name in ("a1", "b"):
            kept = Connectivity(dale=Dale(excitatory=0.75), density=0.25, autapses=False)
            constrained = network.model_copy(update={"connectivity": kept})
            peers = {"modules": lambda s=s, n=constrained: gpu_peers.masked(s, device, n)}  # type: ignore[misc]
            made.append(Case(replace(s, name=f"{s.name} masked"), constrained, ("cudnn", "workspace"), peers))
            cell = LEAKY.model_copy(update={"hidden_size": s.H})
            noisy = network.model_copy(update={"cell": cell})
            peers = {"loop": lambda s=s, cell=cell: gpu_peers.leaky(s, device, cell)}  # type: ignore[misc]
            made.append(Case(replace(s, name=f"{s.name} leaky"), noisy, ("workspace",), peers))
    return made


def ours(case: Case, engine: LayerEngine, device: torch.device, *, graph: bool) -> Step:
    """Return a step as `rnn.training.run` makes it, with its data already on the device."""
    s, network = case.shape, case.network
    optimizer = Optimizer(Adam(lr=1e-3), parameters.initialise(network, 0, s.R), device)
    constraints = Constraints(network, optimizer.parameters)
    gradients_RP = torch.zeros_like(optimizer.parameters)
    bptt = BPTT(network, constraints.used, gradients_RP, s.T, s.B, noisy=True, engine=engine)
    for memory in bptt.memory.all():
        memory.normal_()
    passes = Passes(bptt, device) if graph else bptt
    if isinstance(passes, Passes) and passes.failure:
        raise RuntimeError(f"no CUDA graph: {passes.failure}")
    resting_R = np.zeros(s.R, bool)

    def step() -> None:
        passes.forward()
        passes.backward()
        constraints.pull_back(gradients_RP)
        optimizer.step(gradients_RP, resting_R)
        constraints.apply()

    return step


def seconds_on_gpu(step: Step, repeats: int = 1) -> float:
    """Return the mean time of one call, by the GPU's clock."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(repeats):
        step()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3 / repeats


def compare(case: Case, device: torch.device, rounds: int) -> dict[str, Any]:
    """Return times, ratios, and the reasons of sides that could not run."""
    wanted: dict[str, Callable[[], Step]] = dict(case.peers)
    for engine in case.engines:
        wanted[engine] = lambda engine=engine: ours(case, engine, device, graph=True)  # type: ignore[misc]
    wanted["eager"] = lambda: ours(case, "workspace", device, graph=False)
    sides: dict[str, Step] = {}
    failed: dict[str, str] = {}
    for name, make in wanted.items():
        try:
            sides[name] = make()
            sides[name]()
        except RuntimeError as error:  # one side that fails must not cost the others their figures
            sides.pop(name, None)
            failed[name] = str(error).partition("\n")[0]
    measure = seconds_on_gpu if device.type == "cuda" else interleave.seconds
    times = interleave.take_turns(sides, rounds, 0.05 if device.type == "cuda" else 0.0, measure)
    result: dict[str, Any] = {**asdict(case.shape), "failed": failed, "milliseconds": {}, "ratio": {}}
    for name, taken in times.items():
        result["milliseconds"][name] = round(1e3 * float(np.median(taken)), 4)
        if name not in case.peers:
            peers = [peer for peer in case.peers if peer in times]
            result["ratio"][name] = {peer: interleave.ratio(times[peer], taken) for peer in peers}
    return result


def rows(result: dict[str, Any]) -> list[list[str]]:
    """Return a row for each of our engines and its peer, and one for each side that failed."""
    name = f"{result['name']} ({'/'.join(str(result[axis]) for axis in 'IHOBTR')})"
    times = result["milliseconds"]
    made = [
        [name, engine, peer, interleave.show(found), f"{times[engine]:.3g}", f"{times[peer]:.3g}"]
        for engine, by_peer in result["ratio"].items()
        for peer, found in by_peer.items()
    ]
    return made + [[name, side, "", f"failed: {reason}", "", ""] for side, reason in result["failed"].items()]


def main() -> int:
    """Print a row for each comparison, and return the exit code."""
    parser = interleave.parser(__doc__, rounds=15)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that the script works")
    parser.add_argument("--tf32", action="store_true", help="let all sides round the factors of their products")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("bench/gpu.py: torch sees no CUDA device on this machine, so nothing was measured.\n")
        return NO_GPU
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    about = interleave.about(arguments.threads) | {"device": arguments.device, "tf32": arguments.tf32}
    if device.type == "cuda":
        cuda.prepare(tf32=arguments.tf32)
        about |= {
            "device": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    table = interleave.Table(
        ("shape", "ours", "peer", "peer / ours", "ours ms", "peer ms"), markdown=arguments.markdown
    )
    names = interleave.wanted(arguments.shapes)
    results = []
    for case in cases(device, small=arguments.small):
        if names and case.shape.name not in names:
            continue
        results.append(compare(case, device, arguments.rounds))
        for row in rows(results[-1]):
            table.row(row)
    interleave.save(arguments.json, about, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
