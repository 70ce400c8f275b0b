"""Measures what a whole training job costs beyond its bare steps: `python bench/job.py [--threads N] [--no-child]`.

The measurements form a ladder: each rung does what the rung before it does, and one thing more.

    bare          bench/step.py's step: forward, backward, the update; the loss is read
    batches       rnn.data.tasks draws a new batch for every step
    quiet         rnn.training.run without events: gradient norms, divergence checks, the loop
    logging       an event with the metrics of every step
    evaluation    of 512 held-out sequences, once in 100 steps
    checkpoint    once in 100 steps, as long as every evaluation is the best so far; later once in 500
    child         all of it in the service's trainer process, as this one receives it through the pipe

The rungs take turns of a few steps within one process. Evaluations and checkpoints are events of the logging rung; they
are timed separately and charged at their default rate. Overhead is time per step over that of the bare step, minus one.
The goal is for the job without its evaluations, which are part of the result and cost as much as they have sequences.
With one thread it is CPU time of the process that trains, so that others on the machine count less. b's task has one
input and one output, and so has its bare step.
"""

from __future__ import annotations

import dataclasses
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnn.data.batches import Batches

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "sdk")]

import interleave  # noqa: E402
from interleave import Times  # noqa: E402
from step import CELLS, SHAPES, Shape  # noqa: E402

from rnn.bptt.whole import BPTT  # noqa: E402
from rnn.cells import make  # noqa: E402
from rnn.events import Checkpoint, Metrics  # noqa: E402
from rnn.kinds.kind import Inputs  # noqa: E402
from rnn.networks import parameters  # noqa: E402
from rnn.training.events import Evaluation  # noqa: E402
from rnn.training.optimisers import Optimizer  # noqa: E402
from rnn.training.problem import Problem  # noqa: E402
from rnn.training.run import train, warm_up  # noqa: E402
from unroll.contract import Adam, Network, TaskData, Training, TrainJob  # noqa: E402
from unroll.contract.limits import MAX_STEPS  # noqa: E402
from worker import processes  # noqa: E402
from worker.messages import Assignment, Bundle, Failed, Gone, Place  # noqa: E402

LR = 1e-3
GOAL = 3.0  # percent
EVALUATE_EVERY = 100  # the contract's default
RUNGS = ("bare", "batches", "quiet", "logging")
NAMES = ("a1", "b", "demo", "demo 8 replicas", "lstm a1")
Advance = Callable[[int], object]


def make_job(s: Shape, **training: int) -> TrainJob:
    """Return the shape's job, with the largest possible number of steps."""
    return TrainJob(
        model=Network(cell=CELLS[s.cell][0](hidden_size=s.H), input_size=s.I, output_size=s.O),
        data=TaskData(name="integrate_noise", parameters={"length": s.T}),
        training=Training(steps=MAX_STEPS, batch_size=s.B, optimizer=Adam(lr=LR), **training),
        replicas=s.R,
    )


def bare(s: Shape, *, batches: bool) -> Advance:
    """Return the engine's steps without rnn.training.run."""
    problem = Problem.of(make_job(s))
    network = problem.network
    start_RP = parameters.initialise(network, 0, s.R)
    native = make.chosen(network.cell, problem.dtype, "cpu") == "native"
    optimizer = Optimizer(problem.training.optimizer, start_RP, torch.device("cpu"), native=native)
    gradients_RP = torch.zeros_like(optimizer.parameters)
    bptt = BPTT(network, optimizer.parameters, gradients_RP, s.T, s.B)
    arrays = bptt.memory.map(torch.Tensor.numpy)
    drawn = Batches(problem.source, network, problem.training.loss, 0, arrays)
    drawn.fill(0)
    resting_R = np.zeros(s.R, bool)

    def advance(steps: int) -> None:
        for step in range(1, steps + 1):
            with bptt.threads():
                if batches:
                    drawn.fill(step)
                bptt.forward()
                bptt.backward()
                optimizer.step(gradients_RP, resting_R)
            float(bptt.loss_R[0])

    return advance


class Running:
    """One endless rnn.training.run that works in turns.

    `spent` has the seconds of each evaluation and each checkpoint.
    """

    def __init__(self, job: TrainJob) -> None:
        self._events, self._at = train(job), 0
        self.spent: dict[type, list[float]] = {Evaluation: [], Checkpoint: []}
        self.steps_alone = 0.0

    def __call__(self, steps: int) -> None:
        """Run so many steps. Afterwards `steps_alone` is their time without evaluations and checkpoints."""
        self._at += steps
        other, before = 0.0, interleave.clock()
        started = before
        for event in self._events:
            now = interleave.clock()
            if type(event) in self.spent:
                self.spent[type(event)].append(now - before)
                other += now - before
            before = now
            if isinstance(event, Metrics) and event.step == self._at:
                break
        self.steps_alone = before - started - other


class Child:
    """The service's trainer process with a job. It is stopped between its turns."""

    def __init__(self, children: Any, job: TrainJob, folder: str, threads: int) -> None:
        """Start the process and make its first steps."""
        self._process = processes.TrainerProcess(children, Path(folder) / "child.log", Place())
        self._pid = self._process._pid  # noqa: SLF001 - nobody else needs it
        self._process.assign(Assignment("bench", 1, job, Inputs(), None, 0, threads, threads))
        self._threads = threads
        self._until(1)
        self._send(signal.SIGSTOP)

    def clock(self) -> float:
        """Return the time as `interleave.clock` does, for the child.

        Linux numbers a process's CPU clock by its pid: see clock_getres(2).
        """
        return time.clock_gettime((~self._pid << 3) | 2) if self._threads == 1 else time.perf_counter()

    def seconds(self, steps: int) -> float:
        """Return the time per step over about so many steps."""
        while self._process.next(0) is not None:
            pass  # its messages from before it was stopped
        self._send(signal.SIGCONT)
        begin = self._until(self._step + 1)
        started = self.clock()
        end = self._until(begin + steps)
        taken = self.clock() - started
        self._send(signal.SIGSTOP)
        return taken / (end - begin)

    def kill(self) -> None:
        """End the process."""
        self._process.kill()

    def _send(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self._process._pidfd, number)  # noqa: SLF001

    def _until(self, step: int) -> int:
        while True:
            message = self._process.next(60)
            if message is None or isinstance(message, Failed | Gone):
                raise SystemExit(f"the trainer failed: {message}: {self._process.log()}")
            if isinstance(message, Bundle) and message.step >= step:
                self._step = message.step
                return message.step


@contextmanager
def child(s: Shape, threads: int, children: Any) -> Iterator[Child]:
    """Give a child that runs the default job."""
    with tempfile.TemporaryDirectory() as folder:
        made = Child(children, make_job(s), folder, threads)
        try:
            yield made
        finally:
            made.kill()


def measure(s: Shape, rounds: int, seconds: float, children: Any, threads: int) -> dict[str, Any]:
    """Return the times of all rungs at one shape."""
    probe = bare(s, batches=False)
    probe(3)
    quick = min(interleave.seconds(lambda: probe(1)) for _ in range(5))
    turn = int(np.clip(0.1 / quick, 4, 500))
    logging = Running(make_job(s, evaluate_every=turn, checkpoint_every=turn))
    rungs: dict[str, Advance] = {
        "bare": bare(s, batches=False),
        "batches": bare(s, batches=True),
        "quiet": Running(make_job(s, log_every=turn, evaluate_every=MAX_STEPS, checkpoint_every=MAX_STEPS)),
        "logging": logging,
    }
    for advance in rungs.values():
        advance(turn)
    spoken = EVALUATE_EVERY * -(-turn // EVALUATE_EVERY)
    times: dict[str, list[float]] = {name: [] for name in (*rungs, "child")}
    beside: list[float] = []  # the bare steps of the turns in which the child had one too
    with child(s, threads, children) if children else nullcontext() as trainer:
        begin = time.perf_counter()
        while len(times["bare"]) < 3 or (len(times["bare"]) < rounds and time.perf_counter() < begin + seconds):
            for name, advance in rungs.items():
                taken = interleave.seconds(lambda: advance(turn))  # noqa: B023 - called at once
                times[name].append((logging.steps_alone if name == "logging" else taken) / turn)
            if trainer is not None and sum(times["child"]) * spoken <= (time.perf_counter() - begin) / 2:
                times["child"].append(trainer.seconds(spoken))
                beside.append(times["bare"][-1])
    rare = {kind.__name__.lower(): np.array(spent[1:]) for kind, spent in logging.spent.items()}
    return summary(s, {name: np.array(taken) for name, taken in times.items() if taken}, rare, np.array(beside))


def summary(s: Shape, times: dict[str, Times], rare: dict[str, Times], beside: Times) -> dict[str, Any]:
    """Return medians in microseconds, and overheads in percent with quartiles.

    Rare events count at their default rate.
    """
    microseconds = {name: round(1e6 * float(np.median(taken)), 2) for name, taken in times.items()}
    each = {name: round(1e6 * float(np.median(taken)), 1) for name, taken in rare.items()}
    shares = {name: 100 * taken / EVALUATE_EVERY / microseconds["bare"] for name, taken in each.items()}
    overhead = {
        name: [round(100 * (q - 1), 2) for q in interleave.quartiles(times[name] / times["bare"])] for name in RUNGS[1:]
    }
    overhead["unevaluated"] = [round(q + shares["checkpoint"], 2) for q in overhead["logging"]]
    overhead["job"] = [round(q + sum(shares.values()), 2) for q in overhead["logging"]]
    if "child" in times:
        overhead["child"] = [round(100 * (q - 1), 2) for q in interleave.quartiles(times["child"] / beside)]
    sizes = f"{s.I}/{s.H}/{s.O}/{s.B}/{s.T}/{s.R}"
    result = {
        "name": s.name,
        "cell": s.cell,
        "sizes": sizes,
        "rounds": len(times["bare"]),
        "microseconds": microseconds,
    }
    return result | {"microseconds_each": each, "overhead_percent": overhead}


def row(found: dict[str, Any]) -> list[str]:
    """Return the bare step in microseconds, what each rung adds to the one before it, and the overheads in all."""
    times, shares = found["microseconds"], found["overhead_percent"]
    added = [f"{times[name] - times[below]:+.1f}" for below, name in pairwise(RUNGS)]
    added += [f"{each / EVALUATE_EVERY:+.1f}" for each in found["microseconds_each"].values()]
    totals = [shares.get(name) for name in ("unevaluated", "job", "child")]
    ends = ["not run" if q is None else f"{q[1]:.1f} % ({q[0]:.1f} to {q[2]:.1f})" for q in totals]
    return [f"{found['name']} ({found['sizes']})", f"{times['bare']:.1f}", *added, *ends]


def main() -> None:
    """Print one row for each shape."""
    parser = interleave.parser(__doc__, rounds=200)
    parser.add_argument("--seconds", type=float, default=40.0, help="about how long a shape may take (default: 40)")
    parser.add_argument("--no-child", action="store_true", help="leave the service's child out")
    arguments = parser.parse_args()
    interleave.keep_freed_memory()
    children = None
    if not arguments.no_child:
        children = processes.context()
        processes.warm(children)
    torch.set_num_threads(1)
    warm_up()
    torch.set_num_threads(arguments.threads)
    conditions = interleave.about(arguments.threads)
    print(", ".join(f"{name} {value}" for name, value in conditions.items()))
    print(f"µs of a bare step, what each rung adds to it, overhead in all (goal: at most {GOAL:.0f} %)\n")
    table = interleave.Table(
        ("shape (I/H/O/B/T/R)", *RUNGS, "evaluation", "checkpoint", "without evaluations", "job", "child"),
        markdown=arguments.markdown,
    )
    names, results = interleave.wanted(arguments.shapes) or set(NAMES), []
    for shape in SHAPES:
        if shape.name in names:
            narrow = dataclasses.replace(shape, I=1, O=1)
            results.append(measure(narrow, arguments.rounds, arguments.seconds, children, arguments.threads))
            table.row(row(results[-1]))
    interleave.save(arguments.json, conditions, results)


if __name__ == "__main__":
    main()
