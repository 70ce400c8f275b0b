"""Where a job's sequences come from, and how the server describes its built-in tasks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from unroll.contract.base import Name, Request, Response, Shorthand
from unroll.contract.limits import MAX_BATCH
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


class Floor(Response):
    """Lowest loss that any predictor can reach on average, because inputs are noisy: that of an ideal observer."""

    observer: str
    """What the ideal observer does."""
    loss: float
    """Its expected loss at the given parameters, with the first of the task's architectures and losses."""
    error: float
    """Standard error of this number if it was simulated; 0: it was computed."""


class Task(Shown, Response):
    """A built-in task."""

    name: str
    group: str = ""
    """What kind of task it is: memory, integration, decisions, ..."""
    description: str
    input_size: int
    """Width of the inputs at the given parameters. If inputs are tokens, the width that a network without a vocabulary
    needs."""
    output_size: int
    """Width of the targets at the given parameters."""
    input_names: list[str] = []
    """What each input means. If inputs are tokens, what each token means."""
    target_names: list[str] = []
    """What each target means. If targets are classes, what each class means."""
    architectures: list[str] = []
    """Architectures that can learn the task."""
    losses: list[str] = []
    """Types of loss that fit the targets, the usual one first."""
    vocabulary_size: int | None = None
    """Number of different tokens, if inputs are tokens. null: inputs are numbers."""
    parameters: dict[str, Any]
    """JSON Schema of the parameters, with defaults."""
    baseline: Baseline
    chance: float | None = None
    """Accuracy of the trivial predictor, if targets are classes or yes and no: the fraction that it gets right."""
    floor: Floor | None = None
    """Loss of an ideal observer. null: a perfect network has no loss, or what the least one is was not computed."""
    origin: str = ""
    """Where the task comes from: a publication, or the reason for it."""

    def line(self) -> str:
        """Return the task in one line."""
        widths = f"{self.input_size} inputs, {self.output_size} outputs"
        return f"task {self.name}: {self.description}; {widths}, baseline loss {self.baseline.loss:.4g}"

    def table(self) -> dict[str, object]:
        """Return the task with the default of each parameter."""
        parameters: dict[str, Any] = self.parameters.get("properties", {})
        return {
            "task": self.name,
            "group": self.group or None,
            "description": self.description,
            "inputs": self.input_size,
            "outputs": self.output_size,
            "tokens": self.vocabulary_size,
            "architectures": self.architectures,
            "losses": self.losses,
            "baseline loss": f"{self.baseline.loss:.4g} ({self.baseline.predictor}): {self.baseline.formula}",
            "chance": self.chance,
            "ideal observer": self.floor and f"{self.floor.loss:.4g}: {self.floor.observer}",
            "origin": self.origin or None,
            "parameters": {name: about.get("default") for name, about in parameters.items()},
        }

    def row(self) -> dict[str, object]:
        """Return the cells of this task's line in a list."""
        table = self.table()
        short = {name: table[name] for name in ("task", "group", "inputs", "outputs")}
        return short | {"baseline loss": self.baseline.loss, "description": self.description}


class SampleRequest(Request):
    """Sequences of a task, to look at and to use in programs of one's own."""

    parameters: Annotated[dict[str, Any], Field(examples=[{"length": 20}])] = {}
    """Parameters of the task. Missing ones have defaults."""
    sequences: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 1
    """Number of sequences."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The sequences are the held-out set of this seed and this size: no job trains on them."""


class SampleResponse(Response):
    """Sequences of a task, one entry for each. Steps of padding are left out."""

    task: Task
    """The task at these parameters."""
    parameters: dict[str, Any]
    """All parameters of the task."""
    seed: int
    inputs: list[Any]
    """inputs[sequence][t][i]. Tokens are numbers 0 ... V - 1, one at each step."""
    targets: list[Any]
    """targets[sequence][t][o]. Classes are one-hot. A many_to_one network writes only the last step's."""
    weights: list[Any] | None = None
    """weights[sequence][t]: how often each step counts in the loss. null: each counts once."""
