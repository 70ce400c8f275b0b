"""Where a job's sequences come from, and how the server describes its built-in tasks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from unroll.contract.base import Name, Request, Response, Shorthand
from unroll.contract.shown import Shown


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


class Task(Shown, Response):
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

    def line(self) -> str:
        """Return the task in one line."""
        widths = f"{self.input_size} inputs, {self.output_size} outputs"
        return f"task {self.name}: {self.description}; {widths}, baseline loss {self.baseline.loss:.4g}"

    def table(self) -> dict[str, object]:
        """Return the task with the default of each parameter."""
        parameters: dict[str, Any] = self.parameters.get("properties", {})
        return {
            "task": self.name,
            "description": self.description,
            "inputs": self.input_size,
            "outputs": self.output_size,
            "tokens": self.vocabulary_size,
            "architectures": self.architectures,
            "losses": self.losses,
            "baseline loss": f"{self.baseline.loss:.4g} ({self.baseline.predictor}): {self.baseline.formula}",
            "parameters": {name: about.get("default") for name, about in parameters.items()},
        }

    def row(self) -> dict[str, object]:
        """Return the cells of this task's line in a list."""
        table = self.table()
        short = {name: table[name] for name in ("task", "inputs", "outputs")}
        return short | {"baseline loss": self.baseline.loss, "description": self.description}
