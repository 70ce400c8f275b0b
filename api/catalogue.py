"""What the API asks `rnn` about configurations: tasks, checks, parameter counts, estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import Json, TypeAdapter, ValidationError

import rnn.data.tasks
import rnn.gradient_check.bounds
import rnn.networks.parameters
import rnn.networks.validation
import rnn.training.cost
import rnn.training.validation
from api.errors import Refused, invalid
from rnn.errors import ConfigurationError
from rnn.training.problem import Problem
from unroll.contract import CheckRequest, DryRun, Network, Task, TaskData, TrainJob
from unroll.contract.limits import MAX_PARAMETERS


@dataclass(frozen=True)
class Checked:
    """A job that can be run."""

    parameters: int
    """Of one replica."""
    baseline_loss: float


def tasks() -> list[Task]:
    """Every built-in task."""
    return rnn.data.tasks.all()


_OBJECT = TypeAdapter(Json[dict[str, Any]])


def task(name: str, given: str) -> Task:
    """One built-in task, with parameters (a JSON object). Refuses not_found, and validation_failed at ?parameters."""
    try:
        return rnn.data.tasks.resolve(TaskData(name=name, parameters=_OBJECT.validate_python(given))).describe()
    except ValidationError as error:
        raise invalid("?parameters", "json_invalid", f"not a JSON object: {error.errors()[0]['msg']}") from None
    except ConfigurationError as error:
        if error.code == "unknown_task":
            raise Refused("not_found", error.detail) from None
        raise invalid(error.pointer.replace("/data/", "?", 1), error.code, error.detail) from None


def parameters(network: Network) -> int:
    """Parameters of one replica. Refuses a network that contradicts itself or is too large to train even once."""
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


def check(job: TrainJob, *, named: bool) -> Checked:
    """Check a job whose network is in full. Refuses validation_failed; where the model was named, at /model."""
    try:
        problem = Problem.of(job)
        rnn.training.validation.validate(problem)
        return Checked(rnn.networks.parameters.count(problem.network), problem.baseline_loss)
    except ConfigurationError as error:
        inside = named and error.pointer.startswith("/model/")
        raise invalid("/model" if inside else error.pointer, error.code, error.detail) from None


def require_checkable(request: CheckRequest, *, named: bool) -> None:
    """Refuses validation_failed for a gradient check that is wrong or too large; of a named model, at /model."""
    try:
        rnn.gradient_check.bounds.require_feasible(request)
    except ConfigurationError as error:
        inside = named and error.pointer.startswith("/model/")
        raise invalid("/model" if inside else error.pointer, error.code, error.detail) from None


def require_fits(job: TrainJob, most: int | None, *, named: bool) -> None:
    """Refuse validation_failed for a checked job that needs more than `most` bytes of memory, before any is taken."""
    problem = Problem.of(job)
    needed = rnn.training.cost.memory_bytes(problem)
    if most is None or needed <= most:
        return
    training = job.training
    least: dict[str, dict[str, Any]] = {
        "/training/batch_size": {"training": training.model_copy(update={"batch_size": 1})},
        "/training/held_out/size": {
            "training": training.model_copy(update={"held_out": training.held_out.model_copy(update={"size": 1})})
        },
        "/replicas": {"replicas": 1},
    }
    fitting = (at for at, update in least.items() if rnn.training.cost.memory_bytes(replace(problem, **update)) <= most)
    pointer = next(fitting, "/model" if named else "/model/cell/hidden_size")
    detail = f"the job needs about {needed / 1e9:,.1f} GB of memory, more than the {most / 1e9:,.1f} GB there are"
    raise invalid(pointer, "too_much_memory", detail)


def estimate(job: TrainJob, checked: Checked) -> DryRun:
    """What a checked job would cost."""
    problem = Problem.of(job)
    return DryRun(
        config=job,
        parameters=checked.parameters,
        memory_bytes=rnn.training.cost.memory_bytes(problem),
        seconds=rnn.training.cost.seconds(problem),
        baseline_loss=checked.baseline_loss,
    )
