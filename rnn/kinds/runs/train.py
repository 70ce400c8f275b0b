"""Runs a train job: `rnn.training.run`, translated into the events that jobs of all kinds have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch

from rnn.events import Checkpoint, CheckpointOf, End, Entry, Environment, Event, Metrics, Started
from rnn.kinds.kind import Context, Inputs
from rnn.training import environment, threads
from rnn.training.events import Diverged, Done, Evaluation, LagProfile, Stopped
from rnn.training.log import TrainingLog
from rnn.training.problem import Problem
from rnn.training.run import TrainingRun
from unroll.contract import Divergence, Stop, TrainJob


def run(job: TrainJob, inputs: Inputs, resume: tuple[bytes, bytes] | None, context: Context) -> Iterator[Event]:
    """Train the job's networks, from the start or from a checkpoint of this job."""
    del inputs
    problem = Problem.of(job)
    if context.cores is not None:
        torch.set_num_threads(threads.for_training(problem, context.cores, context.device))
    if context.device == "cpu":  # before the run is built, so that it is recorded meanwhile
        yield Started(_environment(problem))
    training = TrainingRun(problem, resume, device=context.device, tf32=context.tf32)
    if context.device != "cpu":  # after it, as only then it is known whether a graph could be recorded
        yield Started(training.environment)
    keep = job.training.keep_checkpoints
    about = CheckpointOf(problem.network, job.dtype, job.replicas, job.data, job.training.loss, keep)
    hint, log = "", TrainingLog()
    for event in training.events(context.preempt):
        log(event)
        match event:
            case Metrics():
                yield event
            case Checkpoint():
                yield replace(event, about=about)
            case Evaluation():
                data: dict[str, Any] = {"step": event.step, "loss": _finite(event.loss), "best": bool(event.improved)}
                yield Entry(event.step, "evaluation", data)
            case LagProfile():
                norms = [_finite(row) for row in event.norm]
                yield Entry(event.step, "lag_profile", {"step": event.step, "lag": event.lag.tolist(), "norm": norms})
            case Diverged():
                hint = event.hint
                divergence = Divergence(
                    replica=event.replica,
                    step=event.step,
                    loss=_or_none(event.loss),
                    gradient_norm=_or_none(event.gradient_norm),
                    hint=event.hint or None,
                )
                yield Entry(event.step, "replica_diverged", divergence.model_dump(mode="json"), "diverged")
            case Stopped():
                stop = Stop(replica=event.replica, step=event.step, reason=event.reason, loss=_or_none(event.loss))
                yield Entry(event.step, "replica_stopped", stop.model_dump(mode="json"), "stopped_replicas")
            case Done():
                yield _end(job, event, hint)


def _environment(problem: Problem) -> Environment:
    omega = problem.training.regularisation.omega
    return environment.describe("cpu", problem.network, problem.dtype, problem.replicas, omega=omega)


def _end(job: TrainJob, done: Done, hint: str) -> End:
    match done.outcome:
        case "completed":
            return End(done.step, "succeeded")
        case "preempted":
            return End(done.step, "preempted")
        case "all_diverged":
            who = "The replica diverged" if job.replicas == 1 else f"All {job.replicas} replicas diverged, the last"
            message = f"{who} at step {done.step}. {hint}"
            return End(done.step, "failed", error=("all_replicas_diverged", message))
        case stopped:
            return End(done.step, "succeeded", {"stopped": stopped})


def _finite(values: Iterable[float]) -> list[float | None]:
    return [_or_none(float(value)) for value in values]


def _or_none(value: float) -> float | None:
    """Return None for infinity and NaN, which JSON does not have."""
    return value if math.isfinite(value) else None
