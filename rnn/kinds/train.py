"""Train jobs: networks trained by backpropagation through time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rnn.kinds.kind import Facts, Inputs, Kind
from rnn.networks import parameters
from rnn.training import cost
from rnn.training.problem import Problem
from rnn.training.validation import validate
from unroll.contract import TrainJob


def check(job: TrainJob, inputs: Inputs) -> Facts:
    """Check a train job whose network is written out. Raises ConfigurationError."""
    del inputs
    problem = Problem.of(job)
    validate(problem)
    return Facts(
        parameters=parameters.count(problem.network),
        total=job.training.steps,
        memory_bytes=cost.memory_bytes(problem),
        seconds=cost.seconds(problem),
        baseline_loss=problem.baseline_loss,
        part_seconds=cost.part_seconds(problem),
    )


def too_large(job: TrainJob, inputs: Inputs, most: int) -> str:
    """Return a pointer to the first field whose smallest value would let the job fit into `most` bytes."""
    del inputs
    problem, training = Problem.of(job), job.training
    least: dict[str, dict[str, Any]] = {
        "/training/batch_size": {"training": training.model_copy(update={"batch_size": 1})},
        "/training/held_out/size": {
            "training": training.model_copy(update={"held_out": training.held_out.model_copy(update={"size": 1})})
        },
        "/replicas": {"replicas": 1},
    }
    fitting = (at for at, update in least.items() if cost.memory_bytes(replace(problem, **update)) <= most)
    return next(fitting, "/model/cell/hidden_size")


KIND = Kind("train", TrainJob, check, "rnn.kinds.runs.train:run", too_large=too_large)
