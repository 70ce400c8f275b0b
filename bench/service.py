"""Measures what the service costs in addition to the training it runs: `python bench/service.py`.

1. Overhead: steps per second of the demo's job through the service over those of the same `rnn.training.run` loop in a
   plain script; the two take turns, so that the machine's drift affects both. From the first reported step to the end.
2. From POST to the first step, with an idle worker: the time of the first `progress` event, which is written after the
   first step was reported (so the figure includes reporting it), minus the time just before the POST.

3. Large networks (`--large`, alone with `--pairs 0 --posts 0`): steps per second of shapes of bench/step.py through the
   service with default settings, over those of nn.RNN's step in a plain process on the same cores; the two take turns.
   Once without evaluations, as bench/step.py counts, and once as a default job, which evaluates once in 100 steps.

All are measured embedded (SQLite, files) and in production mode (PostgreSQL and Redis, started by the tests' code).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import interleave  # noqa: E402
from step import SHAPES  # noqa: E402

import unroll  # noqa: E402
from tests.servers import postgresql, redis  # noqa: E402

MODEL = {"cell": {"type": "vanilla", "hidden_size": 10}, "input_size": 1, "output_size": 1}
DATA = {"name": "integrate_noise", "parameters": {"length": 20}}
OPTIMIZER = {"type": "adam", "lr": 0.01}

PLAIN = """
import json, sys, time
import torch
torch.set_num_threads(int(sys.argv[2]))
from rnn.training.run import train, warm_up
from unroll.contract import TrainJob
warm_up()
job = TrainJob.model_validate_json(sys.argv[1])
first = None
for event in train(job):
    if first is None:
        first = time.perf_counter()
print((job.training.steps - 1) / (time.perf_counter() - first))
"""

PEER = """
import sys, time
import torch, step
name, seconds, threads = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
shape = next(shape for shape in step.SHAPES if shape.name == name)
run = step.stock(shape)
for _ in range(3):
    run()
begin, steps = time.perf_counter(), 0
while time.perf_counter() - begin < seconds:
    run()
    steps += 1
print(steps / (time.perf_counter() - begin))
"""
LARGE = ("a1", "c")
TURN_SECONDS = 4.0


def job(steps: int, replicas: int = 8) -> dict[str, Any]:
    """Return the demo's job, with so many steps."""
    training = {"steps": steps, "batch_size": 64, "optimizer": OPTIMIZER}
    return {"kind": "train", "model": MODEL, "data": DATA, "training": training, "replicas": replicas}


def main() -> None:
    """Measure both modes and print the table."""
    parser = argparse.ArgumentParser(description="What the service costs beside the training it runs.")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of one overhead run (default: 10000)")
    parser.add_argument("--pairs", type=int, default=7, help="overhead runs of each side (default: 7)")
    parser.add_argument("--posts", type=int, default=30, help="jobs posted for the latency (default: 30)")
    parser.add_argument("--large", type=int, default=5, help="runs of each large network and its peer (default: 5)")
    parser.add_argument("--mode", choices=("embedded", "production"), help="only this one")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    figures: dict[str, dict[str, Any]] = {}
    for mode in (embedded, production):
        if options.mode not in (None, mode.__name__):
            continue
        with mode() as client:
            client.train(model=MODEL, data=DATA, training={"steps": 10}).wait()  # the forkserver is warm afterwards
            figures[mode.__name__] = found = {}
            if options.posts and options.pairs:
                found |= latency(client, options.posts) | overhead(client, options.steps, options.pairs)
            if options.large:
                found["large"] = {name: large(client, name, options.large) for name in LARGE}
    if options.posts and options.pairs:
        show_overhead(figures)
    if options.large:
        show_large(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def show_overhead(figures: dict[str, dict[str, Any]]) -> None:
    """Print what the service costs."""
    print(f"{'mode':<12}{'service / plain':>18}{'(min - max)':>18}{'POST to first step':>22}{'(min - max)':>18}")
    for mode, found in figures.items():
        ratio, first = found["ratio"], found["first_step_ms"]
        print(
            f"{mode:<12}{ratio[1]:>18.3f}{f'{ratio[0]:.3f} - {ratio[2]:.3f}':>18}"
            f"{f'{first[1]:.0f} ms':>22}{f'{first[0]:.0f} - {first[2]:.0f}':>18}"
        )


def show_large(figures: dict[str, dict[str, Any]]) -> None:
    """Print how many times as fast as nn.RNN large networks train."""
    print(
        f"{'mode':<12}{'shape':<7}{'threads':>8}{'service / nn.RNN':>18}{'(min - max)':>16}{'evaluated':>12}"
        f"{'(min - max)':>16}{'ms a step':>11}{'nn.RNN ms':>11}"
    )
    for mode, found in figures.items():
        for name, one in found["large"].items():
            cells = [f"{mode:<12}{name:<7}{one['threads']:>8}"]
            for key, width in (("ratio", 18), ("ratio_evaluated", 12)):
                low, middle, high = one[key]
                cells.append(f"{f'{middle:.2f}':>{width}}{f'{low:.2f} - {high:.2f}':>16}")
            print("".join(cells) + f"{1e3 / one['steps_per_second']:>11.2f}{1e3 / one['peer_steps_per_second']:>11.2f}")


def large(client: unroll.Client, name: str, pairs: int) -> dict[str, Any]:
    """Return steps per second of a shape through the service over those of nn.RNN."""
    shape = next(shape for shape in SHAPES if shape.name == name)
    model = {"cell": {"type": "vanilla", "hidden_size": shape.H}, "input_size": shape.I, "output_size": shape.O}
    data = {"name": "integrate_noise", "parameters": {"length": shape.T}}
    fixed = {"batch_size": shape.B, "optimizer": {"type": "adam", "lr": 1e-4}}
    threads, rates, peers, steps = 0, {"": [1.0], "_evaluated": [1.0]}, [], 0
    for k in range(pairs + 1):
        peer = float(_run(PEER, name, str(TURN_SECONDS), str(len(os.sched_getaffinity(0)))))
        for which, evaluate_every in (("", 10_000_000), ("_evaluated", 100)):
            steps = max(50, int(TURN_SECONDS * rates[which][-1])) if k else 50 + int(TURN_SECONDS * peer)
            training = fixed | {"steps": steps, "evaluate_every": evaluate_every}
            handle = client.train(model=model, data=data, training=training)
            done = handle.wait()
            threads = done.environment.threads if done.environment else 0
            rates[which].append(_rate(handle))
        peers.append(peer)
    # the first turns only found out how many steps a turn needs
    ratios = {
        f"ratio{which}": spread([ours / peer for ours, peer in zip(found[2:], peers[1:], strict=True)])
        for which, found in rates.items()
    }
    return ratios | {
        "threads": threads,
        "steps_per_second": statistics.median(rates[""][2:]),
        "peer_steps_per_second": statistics.median(peers[1:]),
    }


def _rate(handle: unroll.JobHandle) -> float:
    """Return the steps per second between a job's first and last report of its progress while it trained."""
    told = [event for event in handle.events() if event.type == "progress"]
    first, last = told[0], told[-2] if len(told) > 2 else told[-1]
    return (last.data["step"] - first.data["step"]) / (last.time - first.time).total_seconds()


def _run(script: str, *arguments: str) -> str:
    """Run a script in a process of its own, with this folder and the comparisons' allocator, and return its output."""
    env = environment({}) | interleave.ENVIRONMENT
    env["PYTHONPATH"] += os.pathsep + str(ROOT / "bench")
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def overhead(client: unroll.Client, steps: int, pairs: int) -> dict[str, Any]:
    """Return steps per second through the service over those of a plain script."""
    ratios, rates = [], []
    for _ in range(pairs):
        handle = client.train(**{name: value for name, value in job(steps).items() if name != "kind"})
        done = handle.wait()
        plain = subprocess.run(  # the same configuration, with as many threads, in a process of its own
            [sys.executable, "-c", PLAIN, json.dumps(job(steps)), str(done.environment and done.environment.threads)],
            env=environment({}),
            capture_output=True,
            text=True,
            check=True,
        )
        events = list(handle.events())
        first = next(event for event in events if event.type == "progress")
        end = next(event for event in events if event.type == "end")
        served = (steps - first.data["step"]) / (end.time - first.time).total_seconds()
        rates.append((served, float(plain.stdout)))
        ratios.append(served / float(plain.stdout))
    return {"ratio": spread(ratios), "steps_per_second": rates}


def latency(client: unroll.Client, posts: int) -> dict[str, Any]:
    """Return the milliseconds from before the POST to the first step's report, with an idle worker."""
    found = []
    for _ in range(posts):
        time.sleep(0.3)
        before = time.time()
        handle = client.train(**{name: value for name, value in job(200).items() if name != "kind"})
        handle.wait()
        first = next(event for event in handle.events() if event.type == "progress")
        found.append(1000 * (first.time.timestamp() - before))
    return {"first_step_ms": spread(found)}


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the smallest, the median and the largest value."""
    return min(values), statistics.median(values), max(values)


@contextmanager
def embedded() -> Iterator[unroll.Client]:
    """Run `unroll-server up` in an empty folder."""
    with tempfile.TemporaryDirectory() as folder, up(Path(folder), {}) as client:
        yield client


@contextmanager
def production() -> Iterator[unroll.Client]:
    """Run the same with PostgreSQL and Redis."""
    database, broker = postgresql.postgresql(), redis.redis_server()
    try:
        settings = {
            "UNROLL_DATABASE_URL": database.create_database(),
            "UNROLL_BROKER_URL": broker.create_database(),
            "UNROLL_SECRET": "bench",
        }
        with tempfile.TemporaryDirectory() as folder, up(Path(folder), settings) as client:
            yield client
    finally:
        database.stop()
        broker.stop()


@contextmanager
def up(folder: Path, settings: dict[str, str]) -> Iterator[unroll.Client]:
    """Give a client of a running service."""
    own = {"UNROLL_DATA_DIR": str(folder), "UNROLL_PORT": "0", "UNROLL_LOG_LEVEL": "warning"}
    env = environment(own | settings)
    server = subprocess.Popen([sys.executable, "-P", "-m", "api.cli", "up"], env=env, stdout=subprocess.DEVNULL)
    try:
        while not (folder / "url").exists():
            if server.poll() is not None:
                raise SystemExit("the service did not start")
            time.sleep(0.05)
        with unroll.Client((folder / "url").read_text().strip(), (folder / "key").read_text().strip()) as client:
            yield client
    finally:
        server.terminate()
        server.wait(60)


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings and no other of the service's."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("UNROLL_")}
    return env | settings | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk")])}


if __name__ == "__main__":
    main()
