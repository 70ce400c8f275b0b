"""Where a job's sequences come from, and how the server describes its built-in tasks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from unroll.contract.base import Name, Request, Response, Shorthand


class TaskData(Request):
    """A built-in task: a seeded stream of sequences that depend only on (seed, replica, step)."""

    type: Literal["task"] = "task"
    name: Annotated[Name, Field(examples=["integrate_noise"])]
    """Name of a task from GET /v1/tasks."""
    parameters: Annotated[dict[str, Any], Field(examples=[{"length": 20}])] = {}
    """Parameters of the task. The server checks them against the task's JSON Schema."""


Data = Annotated[TaskData, Shorthand("task", word="name")]
"""Where sequences come from. The bare name of a task is short for {"type": "task", "name": that name}."""


class Baseline(Response):
    """Exact loss of a trivial predictor, with which a trained network can be compared."""

    predictor: str
    """Name of the predictor, for example `zero`."""
    loss: float
    """Expected loss at the given parameters, with the first of the task's architectures and the first of its losses."""
    formula: str
    """The loss as a function of the parameters, if all sequences have their full length."""


class Task(Response):
    """A built-in task."""

    name: str
    description: str
    input_size: int
    """Width of the inputs at the given parameters. If inputs are tokens, the width that a network without a vocabulary
    needs."""
    output_size: int
    """Width of the targets at the given parameters."""
    architectures: list[str] = []
    """Architectures that can learn the task."""
    losses: list[str] = []
    """Types of loss that fit the targets, the usual one first."""
    vocabulary_size: int | None = None
    """Number of different tokens, if inputs are tokens. null: inputs are numbers."""
    parameters: dict[str, Any]
    """JSON Schema of the parameters, with defaults."""
    baseline: Baseline
