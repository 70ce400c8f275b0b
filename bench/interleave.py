"""Makes every comparison here: its sides take turns within one process, and each turn gives one ratio.

A machine's drift (clock frequency, other processes) then affects both sides of a ratio equally. The results are the
median ratio and its quartiles, and the ratio of the shortest times, which load disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rnn import kernels

# Freed memory is kept for all sides, because page faults cost nn.RNN half of its time at a4. NumPy's BLAS, which no
# side needs for its steps, has one thread, as in the service's trainer. Otherwise its threads would spin after every
# product.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 28),
    "OPENBLAS_NUM_THREADS": "1",
}
SETTLING = 0.05
Step = Callable[[], object]
Times = npt.NDArray[np.float64]


def keep_freed_memory() -> None:
    """Start this script again with ENVIRONMENT set, because the allocator reads its settings when a process starts."""
    if not ENVIRONMENT.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)  # noqa: S606


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that every comparison has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of both sides; default: all")
    made.add_argument("--rounds", type=int, default=rounds, help=f"turns of each side (default: {rounds})")
    made.add_argument("--shapes", default="", help="names, separated by commas; all by default")
    made.add_argument("--json", type=Path, help="write the figures there")
    made.add_argument("--markdown", action="store_true", help="print the table as it stands in docs/performance.md")
    return made


def about(threads: int) -> dict[str, Any]:
    """Return the conditions of the measurement."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": processor(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "torch": torch.__version__,
        "torch_instruction_set": torch.backends.cpu.get_cpu_capability(),
        "kernel": kernels.instruction_set() if kernels.available() else "not built",
        "threads": threads,
    }


def processor() -> str:
    """Return the processor's name, and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def clock() -> float:
    """Return the time in seconds. With one thread it is the thread's own, so that other processes count less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(step: Step, repeats: int = 1) -> float:
    """Return the mean time of one call."""
    started = clock()
    for _ in range(repeats):
        step()
    return (clock() - started) / repeats


def take_turns(
    methods: Mapping[str, Step],
    rounds: int,
    at_least: float = 0.1,
    measure: Callable[[Step, int], float] = seconds,
) -> dict[str, Times]:
    """Return the mean seconds of a call, [rounds].

    A turn repeats its calls until they take at least `at_least` seconds. Every turn begins with calls that are not
    counted, for `SETTLING` seconds: an OpenMP team continues to spin for a while after its last operation, on cores
    that the next side needs.
    """
    for step in methods.values():
        step()
    repeats = {name: max(1, int(at_least / min(measure(step, 1) for _ in range(2)))) for name, step in methods.items()}
    times = {name: np.empty(rounds) for name in methods}
    for k in range(rounds):
        for name, step in methods.items():
            settled = time.perf_counter() + SETTLING
            while time.perf_counter() < settled:
                step()
            times[name][k] = measure(step, repeats[name])
    return times


def quartiles(values: Sequence[float] | Times) -> list[float]:
    """Return the first quartile, the median and the third quartile."""
    return [round(float(q), 4) for q in np.percentile(values, (25, 50, 75))]


def ratio(peer: Times, ours: Times) -> dict[str, Any]:
    """Return how many times as long the peer takes: quartiles of paired ratios, and the ratio of the shortest times."""
    return {"quartiles": quartiles(peer / ours), "shortest": round(float(peer.min() / ours.min()), 4)}


def show(found: Mapping[str, Any]) -> str:
    """Return a ratio as the text of a table's cell."""
    low, middle, high = found["quartiles"]
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def wanted(shapes: str) -> set[str]:
    """Return the names that were asked for; an empty set means all."""
    return {name.strip() for name in shapes.split(",")} - {""}


class Table:
    """Prints rows as they come, in columns or as Markdown."""

    def __init__(self, columns: Sequence[str], *, markdown: bool) -> None:
        """Print the head."""
        self._markdown = markdown
        self._widths = [max(len(name) + 2, 14 if k else 34) for k, name in enumerate(columns)]
        self.row(columns)
        if markdown:
            print("|" + "---|" * len(columns), flush=True)

    def row(self, cells: Sequence[object]) -> None:
        """Print a row."""
        if self._markdown:
            print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
        else:
            print("".join(f"{cell!s:<{width}}" for cell, width in zip(cells, self._widths, strict=True)), flush=True)


def save(path: Path | None, conditions: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
    """Write the figures to a file, if a path was given."""
    if path:
        path.write_text(json.dumps({**conditions, "results": results}, indent=1) + "\n")
