"""Evaluate jobs: the loss of trained networks on new sequences, with any task parameters and lengths."""

from __future__ import annotations

from dataclasses import dataclass

from rnn.data import tasks
from rnn.data.sequences import SequenceTask
from rnn.data.validation import validate_data
from rnn.errors import ConfigurationError
from rnn.kinds.checkpoints import chosen_replicas
from rnn.kinds.kind import Facts, Inputs, Kind
from rnn.networks import parameters
from rnn.training import cost
from unroll.contract import Checkpoint, EvaluateJob, Loss, TaskData
from unroll.contract.limits import MAX_ACTIVATIONS
from unroll.contract.training import LOSSES


@dataclass(frozen=True)
class Part:
    """One evaluation of the job: the data as requested, or the data at one of its lengths."""

    source: SequenceTask
    loss: Loss
    length: int | None = None


def parts(job: EvaluateJob, checkpoint: Checkpoint) -> list[Part]:
    """Return what a job measures: first the data as requested, then each length. Raises ConfigurationError."""
    data = job.data or checkpoint.data
    if data is None:
        raise ConfigurationError("/data", "missing", "the checkpoint was not trained on data; name some")
    found = [_part(job, checkpoint, data, None, "/data")]
    for k, length in enumerate(job.lengths or []):
        if "length" not in type(found[0].source).model_fields:
            detail = f"the task {data.name} has no parameter `length`"
            raise ConfigurationError("/lengths", "not_available", detail)
        longer = data.model_copy(update={"parameters": {**data.parameters, "length": length}})
        found.append(_part(job, checkpoint, longer, length, f"/lengths/{k}"))
    return found


def _part(job: EvaluateJob, checkpoint: Checkpoint, data: TaskData, length: int | None, pointer: str) -> Part:
    try:
        source = tasks.resolve(data)
        loss = job.loss or checkpoint.loss or LOSSES[source.losses[0]]()
        validate_data(checkpoint.network, loss, source)
    except ConfigurationError as error:
        # these checks point into a train job
        if error.pointer.startswith("/training/loss") and job.loss is not None:
            raise ConfigurationError(error.pointer.removeprefix("/training"), error.code, error.detail) from None
        inside = length is None and job.data is not None and error.pointer.startswith("/data")
        raise ConfigurationError(error.pointer if inside else pointer, error.code, error.detail) from None
    steps, widest = source.steps(checkpoint.network.architecture), max(source.input_size, source.output_size)
    values = job.sequences * steps * widest
    if values > MAX_ACTIVATIONS:
        detail = (
            f"{job.sequences:,} sequences of {steps:,} steps and width {widest:,} are {values:,} values, "
            f"more than {MAX_ACTIVATIONS:,}"
        )
        raise ConfigurationError("/sequences" if length is None else pointer, "too_many_activations", detail)
    return Part(source, loss, length)


def check(job: EvaluateJob, inputs: Inputs) -> Facts:
    """Check an evaluate job against the checkpoint that it reads. Raises ConfigurationError."""
    checkpoint = inputs.checkpoints[job.checkpoint]
    replicas = len(chosen_replicas(job.replica, checkpoint))
    measured = parts(job, checkpoint)
    of_each = [(checkpoint.network, one.source, replicas, job.sequences, checkpoint.dtype) for one in measured]
    return Facts(
        parameters=parameters.count(checkpoint.network),
        total=len(measured) * job.sequences,
        memory_bytes=max(cost.evaluation_memory_bytes(*one, stored=checkpoint.replicas) for one in of_each),
        seconds=sum(cost.evaluation_seconds(*one) for one in of_each),
        baseline_loss=measured[0].source.baseline_loss(checkpoint.network.architecture, measured[0].loss),
        part_seconds=max(cost.evaluation_part_seconds(*one) for one in of_each),
    )


def too_large(job: EvaluateJob, inputs: Inputs, most: int) -> str:
    """Return a pointer to the field that would let the job fit into `most` bytes if it were smaller."""
    one = job.model_copy(update={"sequences": 1})
    return "/sequences" if check(one, inputs).memory_bytes <= most else "/lengths" if job.lengths else "/data"


KIND = Kind("evaluate", EvaluateJob, check, "rnn.kinds.runs.evaluate:run", too_large=too_large)
