"""Where a job's sequences come from, and how the server describes its built-in tasks."""

from __future__ import annotations

from typing import Any, Literal

from unroll.contract.base import Name, Request, Response


class TaskData(Request):
    """A built-in task: a seeded stream whose data depend only on (seed, replica, step)."""

    type: Literal["task"] = "task"
    name: Name
    """One of GET /v1/tasks."""
    parameters: dict[str, Any] = {}
    """Checked against the task's JSON Schema on the server."""


class Baseline(Response):
    """The exact loss of a trivial predictor, for judging a trained network."""

    predictor: str
    """The predictor, for example `zero`."""
    loss: float
    """Its expected loss at the parameters asked for, with the first of the task's architectures and losses."""
    formula: str
    """The loss as a function of the parameters, where all sequences have their full length."""


class Task(Response):
    """A built-in task."""

    name: str
    description: str
    input_size: int
    """Width of the inputs, with the parameters asked for; of tokens, what a network without a vocabulary needs."""
    output_size: int
    """Width of the targets, at the same parameters."""
    architectures: list[str] = []
    """The architectures that it can train."""
    losses: list[str] = []
    """The types of loss that its targets are for, the usual one first."""
    vocabulary_size: int | None = None
    """Inputs are tokens, of this many kinds; null: they are numbers."""
    parameters: dict[str, Any]
    """JSON Schema of the parameters, with defaults."""
    baseline: Baseline
