"""Measures what drawing a batch costs beside the training step that it feeds: `python bench/data.py [--threads N]`.

One row for each task at its default parameters, H = 100 (vanilla), B = 64, for 1 and for 32 replicas. Drawing is what
rnn.training.run does before each step: inputs, targets, weights and lengths for all replicas, written into the
engine's memory. The step is the native kernel's: forward, loss, backward, Adam. Both take turns within one process. The
last columns are time of drawing over time of the step, in percent: median and quartiles; the goal is at most 10 %.
With one thread it is CPU time, so that others on the machine count less; with more threads steps are faster, and all of
drawing but the normals is not. --shapes takes names of tasks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "sdk")]

import interleave  # noqa: E402
from interleave import Step  # noqa: E402

from rnn.bptt import engine  # noqa: E402
from rnn.cells import make  # noqa: E402
from rnn.data.batches import Batches  # noqa: E402
from rnn.data.tasks import TASKS  # noqa: E402
from rnn.networks import parameters  # noqa: E402
from rnn.training.optimisers import Optimizer  # noqa: E402
from rnn.training.problem import Problem  # noqa: E402
from unroll.contract import TrainJob  # noqa: E402
from unroll.contract.network import FEEDBACK  # noqa: E402

GOAL = 10.0  # percent
H, B = 100, 64
REPLICAS = (1, 32)


def problem_of(name: str, replicas: int) -> Problem:
    """Return a job on the task with its usual architecture and loss, as `unroll train` makes it."""
    task = TASKS[name]()
    architecture, loss = task.architectures[0], task.losses[0]
    network = {
        "cell": {"hidden_size": H},
        "input_size": task.input_size,
        "output_size": task.output_size,
        "architecture": architecture,
        "feedback": FEEDBACK[loss] if architecture == "encoder_decoder" else "identity",
    }
    training = {"steps": 1, "batch_size": B, "loss": {"type": loss}}
    config = {"kind": "train", "model": network, "data": name, "training": training, "replicas": replicas}
    return Problem.of(TrainJob.model_validate(config))


def sides(problem: Problem, threads: int) -> dict[str, Step]:
    """Return what draws a batch, and what takes a step with it."""
    network, training, R = problem.network, problem.training, problem.replicas
    native = make.chosen(network.cell, problem.dtype, "cpu") == "native"
    start_RP = parameters.initialise(network, 0, R)
    optimizer = Optimizer(training.optimizer, start_RP, torch.device("cpu"), native=native)
    gradients_RP = torch.zeros_like(optimizer.parameters)
    bptt = engine.for_training(network, training, problem.source, optimizer.parameters, gradients_RP)
    arrays = bptt.memory.map(torch.Tensor.numpy)
    drawn = Batches(problem.source, network, training.loss, 0, arrays, threads)
    resting_R, at = np.zeros(R, bool), 0

    def draw() -> None:
        nonlocal at
        at += 1
        drawn.fill(at)

    def step() -> None:
        with bptt.threads():
            bptt.forward()
            bptt.backward()
            optimizer.step(gradients_RP, resting_R)
        float(bptt.loss_R[0])

    draw()
    return {"draw": draw, "step": step}


def measure(name: str, replicas: int, rounds: int, threads: int) -> dict[str, Any]:
    """Return the times of one task, and their ratio in percent with quartiles."""
    problem = problem_of(name, replicas)
    times = interleave.take_turns(sides(problem, threads), rounds, at_least=0.02)
    percent = interleave.quartiles(100 * times["draw"] / times["step"])
    microseconds = {side: round(1e6 * float(np.median(taken)), 1) for side, taken in times.items()}
    network = problem.network
    sizes = f"{network.input_size}/{network.output_size}/{problem.steps}"
    return {"task": name, "replicas": replicas, "sizes": sizes, "microseconds": microseconds, "percent": percent}


def main() -> None:
    """Print one row for each task."""
    parser = interleave.parser(__doc__, rounds=9)
    parser.set_defaults(threads=1)
    arguments = parser.parse_args()
    interleave.keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    conditions = interleave.about(arguments.threads)
    print(", ".join(f"{name} {value}" for name, value in conditions.items()))
    print(f"drawing a batch over the step that it feeds, H = {H}, B = {B} (goal: at most {GOAL:.0f} %)\n")
    columns = ["task (I/O/T)"]
    for replicas in REPLICAS:
        columns += [f"R = {replicas}: draw µs", "step µs", "draw / step"]
    table = interleave.Table(columns, markdown=arguments.markdown)
    names, results = interleave.wanted(arguments.shapes) or set(TASKS), []
    for name in TASKS:
        if name not in names:
            continue
        found = [measure(name, replicas, arguments.rounds, arguments.threads) for replicas in REPLICAS]
        results += found
        cells: list[str] = [f"{name} ({found[0]['sizes']})"]
        for one in found:
            low, middle, high = one["percent"]
            times = one["microseconds"]
            cells += [f"{times['draw']:.0f}", f"{times['step']:.0f}", f"{middle:.1f} % ({low:.1f} to {high:.1f})"]
        table.row(cells)
    interleave.save(arguments.json, conditions, results)


if __name__ == "__main__":
    main()
