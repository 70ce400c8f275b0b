"""Asks `rnn` about configurations: tasks, checks, parameter counts, estimates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import Json, TypeAdapter, ValidationError
from pydantic_core import to_json

import rnn.data.samples
import rnn.data.tasks
import rnn.gradient_check.bounds
import rnn.networks.parameters
from api.errors import Refused, invalid
from api.validation import require_single_names
from rnn.errors import ConfigurationError
from rnn.kinds import KINDS, kind
from rnn.kinds.kind import Facts, Inputs
from unroll.contract import Checkpoint, CheckRequest, DryRun, JobRequest, Network, SampleRequest, Task, TaskData
from unroll.contract.limits import LONG_JOB_SECONDS, MAX_PARAMETERS
from unroll.contract.shown import duration


def tasks() -> list[Task]:
    """Return every built-in task."""
    return rnn.data.tasks.all()


_OBJECT = TypeAdapter(Json[dict[str, Any]])


def task(name: str, given: str) -> Task:
    """Return one built-in task, with parameters (a JSON object).

    Refuses not_found, malformed_request for a name that stands twice, and validation_failed at ?parameters.
    """
    try:
        parameters = _OBJECT.validate_python(given)
        require_single_names(given, "?parameters: ")
        return rnn.data.tasks.resolve(TaskData(name=name, parameters=parameters)).describe()
    except ValidationError:
        detail = 'Input should be a JSON object, for example {"length": 20}'
        raise invalid("?parameters", "json_invalid", detail) from None
    except ConfigurationError as error:
        if error.code == "unknown_task":
            raise Refused("not_found", error.detail) from None
        raise invalid(error.pointer.replace("/data/", "?", 1), error.code, error.detail) from None


_VALUE_BYTES = 100
"""Bytes for each value of a sample: drawn, as a Python number in its lists, and as JSON."""


def sample(name: str, request: SampleRequest, reserve: Callable[[int], None]) -> bytes:
    """Return a SampleResponse as JSON. `reserve` is told how much memory it takes, before it is taken.

    Refuses not_found, and validation_failed with a pointer.
    """
    try:
        found = rnn.data.tasks.resolve(TaskData(name=name, parameters=request.parameters))
        reserve(_VALUE_BYTES * rnn.data.samples.values(found, request.sequences))
        drawn = rnn.data.samples.sample(found, request.sequences, request.seed)
    except ConfigurationError as error:
        if error.code == "unknown_task":
            raise Refused("not_found", error.detail) from None
        raise invalid(error.pointer.removeprefix("/data"), error.code, error.detail) from None
    arrays = {"inputs": drawn.inputs, "targets": drawn.targets, "weights": drawn.weights}
    lists = {what: values and [one.tolist() for one in values] for what, values in arrays.items()}
    # Not validated once more: that would take longer than drawing.
    head = {"task": found.describe(), "parameters": found.config().parameters, "seed": request.seed}
    return to_json(head | lists)


def parameters(network: Network) -> int:
    """Return the number of parameters of one replica.

    Refuses a network that contradicts itself or is too large to train even once.
    """
    try:
        rnn.networks.validation.validate_network(network)
    except ConfigurationError as error:
        raise invalid("/config" + error.pointer.removeprefix("/model"), error.code, error.detail) from None
    count = rnn.networks.parameters.count(network)
    if count > MAX_PARAMETERS:
        raise invalid(
            "/config/cell/hidden_size", "too_many_parameters", f"{count:,} parameters, more than {MAX_PARAMETERS:,}"
        )
    return count


def check(job: JobRequest, read: Mapping[str, Checkpoint], *, named: bool) -> Facts:
    """Return what a job is and costs. Refuses validation_failed; at /model if the job named a model.

    The job has its network in full, and `read` has the checkpoints that the job reads, by id.
    """
    try:
        return KINDS[job.kind].check(job, Inputs(read))
    except ConfigurationError as error:
        raise invalid(_outside(error.pointer, named=named), error.code, error.detail) from None


def require_fits(
    job: JobRequest, read: Mapping[str, Checkpoint], facts: Facts, most: int | None, *, named: bool
) -> None:
    """Refuse validation_failed for a checked job that needs more than `most` bytes of memory, before any is taken."""
    if most is None or facts.memory_bytes <= most:
        return
    pointer = KINDS[job.kind].too_large(job, Inputs(read), most)
    needed, there = facts.memory_bytes / 1e9, most / 1e9
    detail = f"the job needs about {needed:,.1f} GB of memory, more than the {there:,.1f} GB there are"
    raise invalid(_outside(pointer, named=named), "too_much_memory", detail)


def require_bounded(job: JobRequest, facts: Facts) -> None:
    """Refuse validation_failed for a job of more than a day whose time nothing limits."""
    if job.max_seconds is None and facts.seconds > LONG_JOB_SECONDS:
        detail = (
            f"the job is estimated to take {duration(facts.seconds)}, more than a day: set max_seconds, after which it "
            "stops, or confirm its length with ?confirm_long=true"
        )
        raise invalid("/max_seconds", "too_long", detail)


def estimate(job: JobRequest, facts: Facts, stall_seconds: float) -> DryRun:
    """Return what a checked job would cost, with a note if `stall_seconds` may be too short for a part of it."""
    notes = []
    if (patience := kind.patience(facts.part_seconds, stall_seconds)) > stall_seconds:
        notes.append(
            f"One part of the work may take about {duration(facts.part_seconds)} without a sign of life. So a trainer "
            f"that hangs is ended only after {duration(patience)}, not after the {duration(stall_seconds)} of "
            "UNROLL_STALL_SECONDS."
        )
    return DryRun.model_validate({"config": job, **asdict(facts), "notes": notes})


def driver(job: JobRequest) -> str:
    """Return which part of the service moves jobs of this kind forward."""
    return KINDS[job.kind].driver


def _outside(pointer: str, *, named: bool) -> str:
    """Return a pointer to the model's name if the network was not posted with the job."""
    return "/model" if named and pointer.startswith("/model/") else pointer


def require_checkable(request: CheckRequest, *, named: bool) -> None:
    """Refuse validation_failed for a gradient check that is wrong or too large; at /model if it named a model."""
    try:
        rnn.gradient_check.bounds.require_feasible(request)
    except ConfigurationError as error:
        raise invalid(_outside(error.pointer, named=named), error.code, error.detail) from None
