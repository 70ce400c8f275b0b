"""Measures what matrix products can reach at a network's own sizes: `python bench/gemm.py [--threads N]`.

It measures the products of one step of a layer with G gates, as the engine needs them: for each of T steps h W_hh and
its transpose in the backward pass, [B,H] x [H,GH] and [B,GH] x [GH,H]; once, dW = h' da, [H,TB] x [TB,GH]. The methods:

    torch.mm      one product after another, into given memory (BLAS: on this build MKL or OpenBLAS)
    oneDNN        torch.ops.mkldnn._linear_pointwise with weights packed once a step, if this build has it

The libraries' limit is the faster of the two for each product, summed over the step. The processor's limit is the same
number of operations at the best rate that either reaches on matrices of 1024. The fractions of the kernel and the
workspace are these limits divided by their own time for a whole step, with its inputs, activations, readout, loss and
update. Above 1, the kernel is faster than the libraries' products alone at these sizes.
"""

from __future__ import annotations

from typing import Any

import interleave
import torch
from interleave import Step
from step import CELLS, SHAPES, Shape, ours
from torch import Tensor

from rnn import kernels

LARGE = 1024
MANY = 32  # products in a row, on matrices of as many time steps, so that h streams through the cache as in training


def products(s: Shape) -> dict[str, tuple[int, int, int, int]]:
    """Return how often each product is made in one step, and its sizes M, K, N."""
    gates = CELLS[s.cell][2]
    return {
        "forward": (s.T * s.R, s.B, s.H, gates * s.H),
        "backward": (s.T * s.R, s.B, gates * s.H, s.H),
        "dW": (s.R, s.H, s.T * s.B, gates * s.H),
    }


def methods(many: int, M: int, K: int, N: int) -> dict[str, Step]:
    """Return the ways to multiply [M,K] by [K,N]. Each call makes `many` products."""
    a, b, out = torch.randn(many, M, K), torch.randn(K, N), torch.empty(many, M, N)

    def blas() -> None:
        for k in range(many):
            torch.mm(a[k], b, out=out[k])

    made: dict[str, Step] = {"torch.mm": blas}
    packed = onednn(a, b)
    if packed is not None:
        made["oneDNN"] = packed
    return made


def onednn(a: Tensor, b: Tensor) -> Step | None:
    """Return the products by oneDNN, with b packed beforehand; None if torch was built without it."""
    if not torch.backends.mkldnn.is_available():
        return None
    # A packed weight is [N,K], because linear multiplies by its transpose.
    weight = torch.ops.mkldnn._reorder_linear_weight(b.t().contiguous(), a.shape[1])  # noqa: SLF001
    linear = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
    expected = a[0] @ b
    found = linear(a[0], weight, None, "none", [], "")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)

    def step() -> None:
        for one in a:
            linear(one, weight, None, "none", [], "")

    return step


def limit(s: Shape, rounds: int, best: float) -> dict[str, Any]:
    """Return each product's rate, the time of all of them in one step, and the fraction of it that engines reach."""
    rates: dict[str, dict[str, float]] = {}
    least = dict.fromkeys(("torch.mm", "oneDNN", "limit"), 0.0)
    for name, (count, M, K, N) in products(s).items():
        many = 1 if name == "dW" else MANY
        times = interleave.take_turns(methods(many, M, K, N), rounds, at_least=0.03)
        # the shortest time counts, because a limit is the best that can be reached
        each = {method: float(taken.min()) / many for method, taken in times.items()}
        rates[name] = {method: round(2e-9 * M * K * N / taken, 1) for method, taken in each.items()}
        for method in ("torch.mm", "oneDNN"):
            least[method] += count * each.get(method, float("nan"))
        least["limit"] += count * min(each.values())
    operations = sum(2e-9 * count * M * K * N for count, M, K, N in products(s).values())
    engines = ["native", "workspace"] if kernels.available() else ["workspace"]
    steps = interleave.take_turns({engine: ours(s, engine) for engine in engines}, rounds)  # type: ignore[arg-type]
    own = {engine: float(taken.min()) for engine, taken in steps.items()}
    return {
        "name": s.name,
        "cell": s.cell,
        "sizes": f"{s.I}/{s.H}/{s.O}/{s.B}/{s.T}/{s.R}",
        "gflops": rates,
        "milliseconds": {method: round(1e3 * taken, 4) for method, taken in least.items()},
        "fraction_of_limit": {engine: round(least["limit"] / taken, 3) for engine, taken in own.items()},
        "fraction_of_processor": {engine: round(operations / best / taken, 3) for engine, taken in own.items()},
    }


def row(found: dict[str, Any]) -> list[str]:
    """Return one row of the table."""
    rates = [" / ".join(f"{rate:.0f}" for rate in methods.values()) for methods in found["gflops"].values()]
    fractions = [
        f"{found[of][engine]:.2f}" if engine in found[of] else "not built"
        for of in ("fraction_of_limit", "fraction_of_processor")
        for engine in ("native", "workspace")
    ]
    return [f"{found['name']} ({found['sizes']})", *rates, f"{found['milliseconds']['limit']:.3g}", *fractions]


def main() -> None:
    """Print one row for each shape."""
    arguments = interleave.parser(__doc__, rounds=7).parse_args()
    interleave.keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    conditions = interleave.about(arguments.threads)
    print(", ".join(f"{name} {value}" for name, value in conditions.items()))
    print("GFLOP/s of torch.mm / oneDNN for each product; the least time of all products; fractions of that limit\n")
    large = interleave.take_turns(methods(1, LARGE, LARGE, LARGE), arguments.rounds)
    best = 2e-9 * LARGE**3 / min(float(taken.min()) for taken in large.values())
    conditions["gflops_on_large_matrices"] = round(best, 1)
    print(f"The best rate on matrices of {LARGE}: {best:.0f} GFLOP/s\n")
    head = ("shape (I/H/O/B/T/R)", "forward", "backward", "dW", "limit ms", "native", "workspace")
    head += ("native / processor", "workspace / processor")
    table = interleave.Table(head, markdown=arguments.markdown)
    wanted, results = interleave.wanted(arguments.shapes), []
    for shape in SHAPES:
        if not wanted or shape.name in wanted:
            results.append(limit(shape, arguments.rounds, best))
            table.row(row(results[-1]))
    interleave.save(arguments.json, conditions, results)


if __name__ == "__main__":
    main()
