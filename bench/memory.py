"""Checks whether long jobs grow in memory: `python bench/memory.py [--steps 1000000] [--served 100000]`. Linux only.

1. rnn.training.run, tiny, with an event for every step, consumed in a plain loop: resident memory of this process. 2.
The same job through `unroll-server up`: resident memory of API, worker and trainer, sampled while it runs.

The slope is that of a straight line through the samples after the first fifth, in bytes per step. Memory that a job
keeps for every step would give 8 bytes or more; caches and tables that fill up give a slope that falls with the length.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "sdk")]

import interleave  # noqa: E402
import service  # noqa: E402
import torch  # noqa: E402

from rnn.events import Metrics  # noqa: E402
from rnn.training.run import train  # noqa: E402
from unroll.contract import TrainJob  # noqa: E402

PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLES = 400
ROLES = {"api.cli up": "up", "api.cli api": "API", "-m worker": "worker", "forkserver": "forkserver"}
ENDED = ("succeeded", "failed", "cancelled")


def job(steps: int) -> dict[str, Any]:
    """Return a job so small that bookkeeping is most of it."""
    return {
        "model": {"cell": {"type": "vanilla", "hidden_size": 4}, "input_size": 1, "output_size": 1},
        "data": {"name": "integrate_noise", "parameters": {"length": 4}},
        "training": {"steps": steps, "batch_size": 4, "held_out": {"size": 8}},
    }


def resident(pid: int) -> int:
    """Return the resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def trained(steps: int) -> dict[str, Any]:
    """Return the growth of this process while it consumes the events of so many steps."""
    torch.set_num_threads(1)
    every, started = max(1, steps // SAMPLES), time.perf_counter()
    events = train(TrainJob.model_validate(job(steps)))
    logged = (event.step for event in events if isinstance(event, Metrics))
    samples = [(step, resident(os.getpid())) for step in logged if step % every == 0]
    return grown("rnn.training.run", samples) | {"seconds": round(time.perf_counter() - started, 1)}


def served(steps: int) -> list[dict[str, Any]]:
    """Return the growth of the service's processes over one job."""
    samples: dict[str, list[tuple[int, int]]] = {}
    with service.embedded() as client:
        handle = client.train(**job(steps))
        while (now := client.jobs.get(handle.id)).status not in ENDED:
            if now.progress.step:
                for role, size in family(os.getpid()).items():
                    samples.setdefault(role, []).append((now.progress.step, size))
            time.sleep(0.5)
        if now.status != "succeeded":
            raise SystemExit(f"the job {now.status}: {now.error}")
    return [grown(role, taken) for role, taken in samples.items() if len(taken) > 10]


def family(root: int) -> dict[str, int]:
    """Return the resident bytes of the service's processes, the descendants of `root`, by their roles."""
    parents, commands = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:
            continue
    found: dict[str, int] = {}
    for pid, command in commands.items():
        line, at = [], pid
        while at in parents and at != root:
            line.append(at)
            at = parents[at]
        if at != root or not line:
            continue
        same_as_parent = len(line) > 1 and commands[line[1]] == command
        named = next((role for word, role in ROLES.items() if word in command), None)
        role = "trainer" if same_as_parent and named == "forkserver" else named
        if role is None:
            continue
        try:
            found[role] = max(found.get(role, 0), resident(pid))
        except OSError:
            continue
    return found


def grown(name: str, samples: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return the bytes per step, and the memory at the start and at the end."""
    steps, sizes = np.array(samples, float).T
    late = steps >= steps[-1] / 5
    slope = float(np.polyfit(steps[late], sizes[late], 1)[0])
    return {
        "name": name,
        "steps": int(steps[-1]),
        "bytes_per_step": round(slope, 3),
        "first_mib": round(sizes[0] / 2**20, 1),
        "after_a_fifth_mib": round(sizes[late][0] / 2**20, 1),
        "last_mib": round(sizes[-1] / 2**20, 1),
    }


def main() -> None:
    """Print one row for each process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000, help="of rnn.training.run; 0: none")
    parser.add_argument("--served", type=int, default=100_000, help="through the service; 0: none")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--markdown", action="store_true", help="print the table as it stands in docs/performance.md")
    arguments = parser.parse_args()
    head = ("process", "steps", "bytes per step", "MiB first", "after a fifth", "last")
    table = interleave.Table(head, markdown=arguments.markdown)
    results = []
    parts = [lambda: [trained(arguments.steps)]] if arguments.steps else []
    parts += [lambda: served(arguments.served)] if arguments.served else []
    for measured in parts:
        for found in measured():
            results.append(found)
            keys = ("name", "steps", "bytes_per_step", "first_mib", "after_a_fifth_mib", "last_mib")
            table.row([found[key] for key in keys])
    interleave.save(arguments.json, interleave.about(1), results)


if __name__ == "__main__":
    main()
