"""Measures what the service costs in addition to the training it runs: `python bench/service.py`.

1. Overhead: steps per second of the demo's job through the service over those of the same `rnn.training.run` loop in a
   plain script; the two take turns, so that the machine's drift affects both. From the first reported step to the end.
2. From POST to the first step, with an idle worker: the time of the first `progress` event, which is written after the
   first step was reported (so the figure includes reporting it), minus the time just before the POST.

Both are measured embedded (SQLite, files) and in production mode (PostgreSQL and Redis, started by the tests' code).
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

import unroll  # noqa: E402
from tests.servers import postgresql, redis  # noqa: E402

MODEL = {"cell": {"type": "vanilla", "hidden_size": 10}, "input_size": 1, "output_size": 1}
DATA = {"name": "integrate_noise", "parameters": {"length": 20}}
OPTIMIZER = {"type": "adam", "lr": 0.01}

PLAIN = """
import json, sys, time
import torch
torch.set_num_threads(1)
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
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    figures = {}
    for mode in (embedded, production):
        with mode() as client:
            client.train(model=MODEL, data=DATA, training={"steps": 10}).wait()  # the forkserver is warm afterwards
            figures[mode.__name__] = latency(client, options.posts) | overhead(client, options.steps, options.pairs)
    print(f"{'mode':<12}{'service / plain':>18}{'(min - max)':>18}{'POST to first step':>22}{'(min - max)':>18}")
    for mode, found in figures.items():
        ratio, first = found["ratio"], found["first_step_ms"]
        print(
            f"{mode:<12}{ratio[1]:>18.3f}{f'{ratio[0]:.3f} - {ratio[2]:.3f}':>18}"
            f"{f'{first[1]:.0f} ms':>22}{f'{first[0]:.0f} - {first[2]:.0f}':>18}"
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def overhead(client: unroll.Client, steps: int, pairs: int) -> dict[str, Any]:
    """Return steps per second through the service over those of a plain script."""
    ratios, rates = [], []
    for _ in range(pairs):
        plain = subprocess.run(  # the same configuration, in a process of its own
            [sys.executable, "-c", PLAIN, json.dumps(job(steps))],
            env=environment({}),
            capture_output=True,
            text=True,
            check=True,
        )
        handle = client.train(**{name: value for name, value in job(steps).items() if name != "kind"})
        handle.wait()
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
