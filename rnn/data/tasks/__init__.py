"""The built-in tasks. To add a task, write its class in a file beside `integrate_noise.py` and list it in `TASKS`."""

from __future__ import annotations

from pydantic import ValidationError

from rnn.data.sequences import SequenceTask
from rnn.data.tasks.adding import Adding
from rnn.data.tasks.context_integration import ContextIntegration
from rnn.data.tasks.copy_memory import CopyMemory
from rnn.data.tasks.delayed_match import DelayedMatch
from rnn.data.tasks.flip_flop import FlipFlop
from rnn.data.tasks.integrate_leaky import IntegrateLeaky
from rnn.data.tasks.integrate_noise import IntegrateNoise
from rnn.data.tasks.interval_timing import IntervalTiming
from rnn.data.tasks.oculomotor import Oculomotor
from rnn.data.tasks.parity import Parity
from rnn.data.tasks.path_integration import PathIntegration
from rnn.data.tasks.perceptual_decision import PerceptualDecision
from rnn.data.tasks.poisson_counts import PoissonCounts
from rnn.data.tasks.population import Population
from rnn.data.tasks.recall import Recall
from rnn.data.tasks.reverse import Reverse
from rnn.data.tasks.ring_memory import RingMemory
from rnn.data.tasks.sine import Sine
from rnn.data.tasks.temporal_order import TemporalOrder
from rnn.data.tasks.xor import Xor
from rnn.errors import ConfigurationError
from unroll.contract import Task, TaskData
from unroll.contract.wording import describe, unknown

TASKS: dict[str, type[SequenceTask]] = {
    task.name: task
    for task in (
        IntegrateNoise,
        IntegrateLeaky,
        Oculomotor,
        Adding,
        Recall,
        CopyMemory,
        FlipFlop,
        TemporalOrder,
        RingMemory,
        PerceptualDecision,
        ContextIntegration,
        DelayedMatch,
        Sine,
        IntervalTiming,
        PathIntegration,
        Reverse,
        Parity,
        Xor,
        PoissonCounts,
        Population,
    )
}
"""All tasks by name. Tasks of one group stand together."""


def all() -> list[Task]:  # noqa: A001 - read as rnn.data.tasks.all()
    """Return the descriptions of all tasks, with their default parameters."""
    return [task().describe() for task in TASKS.values()]


def resolve(data: TaskData) -> SequenceTask:
    """Return the task with its parameters checked.

    Raises ConfigurationError: `unknown_task` at /data/name, or pydantic's code at /data/parameters/….
    """
    task = _find(data.name)
    try:
        return task.model_validate(data.parameters)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        pointer = "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in first["loc"])
        detail = describe(first, task, first["loc"], data.parameters, name=data.name)
        raise ConfigurationError(f"/data/parameters/{pointer}", first["type"], detail) from None


def _find(name: str) -> type[SequenceTask]:
    if name not in TASKS:
        raise ConfigurationError("/data/name", "unknown_task", unknown("task", name, TASKS))
    return TASKS[name]
