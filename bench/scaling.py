"""Measures how a training step's cost grows with T, H, B and R: `python bench/scaling.py [--threads N]`.

Each is varied by powers of two around a1 (I = O = 1, H = 100, B = 64, T = 100, R = 1) while the others stay fixed. Time
is fitted by a power law, time ~ size^k, over the whole range and over its upper half. Operations have k = 1 in T, B and
R, and in H approach 2. A smaller exponent means that a constant cost is shared by more work; a larger one means that
memory is slower. All sizes of one range take turns, so that a machine's drift does not look like growth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import interleave
import numpy as np
import torch
from step import SHAPES, Shape, ours

from rnn import kernels
from rnn.cells.facts import LayerEngine

A1 = next(shape for shape in SHAPES if shape.name == "a1")
SWEEPS = {
    "T": (25, 50, 100, 200, 400, 800),
    "H": (16, 32, 64, 128, 256, 512),
    "B": (8, 16, 32, 64, 128, 256),
    "R": (1, 2, 4, 8, 16),
}


def sweep(axis: str, engine: LayerEngine, rounds: int) -> dict[str, Any]:
    """Return the times along one axis and the exponents that fit them."""
    shapes: dict[str, Shape] = {str(size): replace(A1, **{axis: size}) for size in SWEEPS[axis]}
    times = interleave.take_turns({size: ours(s, engine) for size, s in shapes.items()}, rounds, at_least=0.05)
    sizes = np.array(SWEEPS[axis], float)
    # of the shortest times, because load only ever adds to a time
    shortest = np.array([times[size].min() for size in shapes])
    half = len(sizes) // 2
    return {
        "axis": axis,
        "engine": engine,
        "sizes": list(SWEEPS[axis]),
        "milliseconds": [round(1e3 * float(np.median(times[size])), 4) for size in shapes],
        "shortest_milliseconds": [round(1e3 * float(t), 4) for t in shortest],
        "gflops": [round(s.gigaflops / t, 1) for s, t in zip(shapes.values(), shortest, strict=True)],
        "exponent": exponent(sizes, shortest),
        "exponent_upper_half": exponent(sizes[half:], shortest[half:]),
        "exponent_of_operations": exponent(sizes, np.array([s.gigaflops for s in shapes.values()])),
    }


def exponent(sizes: interleave.Times, values: interleave.Times) -> float:
    """K of values ~ sizes^k, by least squares in logarithms."""
    return round(float(np.polyfit(np.log(sizes), np.log(values), 1)[0]), 3)


def row(found: dict[str, Any]) -> list[str]:
    """Return one row of the table."""
    spent = ", ".join(f"{t:.3g}" for t in found["shortest_milliseconds"])
    sizes = ", ".join(str(size) for size in found["sizes"])
    keys = ("exponent", "exponent_upper_half", "exponent_of_operations")
    return [f"{found['axis']} = {sizes}", found["engine"], *(f"{found[key]:.2f}" for key in keys), spent]


def main() -> None:
    """Print one row for each axis."""
    arguments = interleave.parser(__doc__, rounds=7).parse_args()
    interleave.keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    conditions = interleave.about(arguments.threads)
    print(", ".join(f"{name} {value}" for name, value in conditions.items()))
    head = ("sweep around a1", "engine", "k", "upper half", "operations", "shortest milliseconds a step")
    table = interleave.Table(head, markdown=arguments.markdown)
    axes, results = interleave.wanted(arguments.shapes) or set(SWEEPS), []
    engines: list[LayerEngine] = ["native", "workspace"] if kernels.available() else ["workspace"]
    for axis in SWEEPS:
        for engine in engines if axis in axes else ():
            results.append(sweep(axis, engine, arguments.rounds))
            table.row(row(results[-1]))
    interleave.save(arguments.json, conditions, results)


if __name__ == "__main__":
    main()
