"""The base of every built-in task: its parameters, its exact baseline, and how its sequences are drawn."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from rnn.data.source import Batch, Source
from rnn.randomness.streams import Draws
from unroll.contract import Architecture, Baseline, Floor, Loss, Request, Task, TaskData


class SequenceTask(Request, Source):
    """A built-in task, which is a source. Its fields are the task's parameters, and its JSON Schema describes them.

    If sequences differ in length (`shortest`), all lengths from the shortest to the longest are equally likely.
    """

    name: ClassVar[str]
    group: ClassVar[str]
    """The kind of task it is, under which people look for it."""
    description: ClassVar[str]
    origin: ClassVar[str]
    """Where the task comes from."""
    predictor: ClassVar[str]
    """A description of the trivial predictor that gives the baseline."""
    formula: ClassVar[str]
    """The baseline's expected loss as a function of the parameters, for the first architecture and loss and full
    lengths."""
    architectures: ClassVar[tuple[Architecture, ...]] = ("many_to_many", "many_to_one")
    losses: ClassVar[tuple[str, ...]] = ("mse",)
    weighted: ClassVar[bool] = False
    """Whether `draw` writes how often each output step counts."""

    def config(self) -> TaskData:
        """Return the task's name and all its parameters."""
        return TaskData(name=self.name, parameters=self.model_dump(mode="json"))

    @property
    def input_names(self) -> list[str]:
        """What each input means; if inputs are tokens, what each token means."""
        return _numbered("x" if self.vocabulary_size is None else "token", self.input_size)

    @property
    def target_names(self) -> list[str]:
        """What each target means; if targets are classes, what each class means."""
        return _numbered("y" if self.losses[0] != "cross_entropy" else "class", self.output_size)

    @property
    def chance(self) -> float | None:
        """The accuracy of the trivial predictor, if targets are classes, or yes and no."""
        return {"bce": 0.5, "cross_entropy": 1 / self.output_size}.get(self.losses[0])

    def floor(self) -> Floor | None:
        """Return the expected loss of an ideal observer, for the first architecture and loss and full lengths.

        By default None: nothing was computed. It may take some milliseconds, because the API answers with it.
        """
        return None

    @abstractmethod
    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Return the expected cost of the trivial predictor at each valid output step, [T].

        The cost is the mean over outputs, except for cross_entropy, which has one cost for each step.
        """

    @abstractmethod
    def draw(self, draws: Draws, batch: Batch) -> None:
        """Fill inputs and targets of R replicas, and weights if `weighted`. Each replica uses only its own draws.

        Inputs are drawn as float32 for every dtype of the arrays, so both precisions get the same sequences. Lengths
        have already been drawn, from the same draws.
        """

    def baseline_loss(self, architecture: Architecture | None = None, loss: Loss | None = None) -> float:
        """Return the exact expected loss of the trivial predictor, as the job computes it.

        If sequences differ in length, it is the expected cost divided by the expected weight. The loss of a large batch
        approaches this ratio. The time and memory that this takes grow with T, not with its square: the API computes it
        for everyone who asks.
        """
        kind = loss.type if loss else self.losses[0]
        architecture = architecture or self.architectures[0]
        cost_T, weight_T = self.costs(kind), self.weights()
        steps = np.arange(1, len(cost_T) + 1)
        if self.shortest is not None and self.output_steps == self.input_steps:
            lengths = np.arange(self.shortest, self.input_steps + 1)
            if architecture == "many_to_one":
                cost_T, weight_T = cost_T[lengths - 1], np.ones(len(lengths))
            else:
                # the fraction of sequences that have this step: all lengths from the shortest are equally likely
                weight_T = weight_T * (np.minimum(len(lengths), self.input_steps + 1 - steps) / len(lengths))
        elif architecture == "many_to_one":
            cost_T, weight_T = cost_T[-1:], np.ones(1)
        if loss is not None and loss.time_weights is not None:
            weight_T = weight_T * np.asarray(loss.time_weights)
        total = float(cost_T @ weight_T)
        if loss is not None and loss.type == "mse" and loss.over == "sequences":
            return total * self.output_size * (1 / len(cost_T) if architecture == "many_to_one" else 1)
        return total / float(weight_T.sum())

    def fill(self, draws: Draws, batch: Batch) -> None:
        """Fill lengths, inputs, targets and weights. Padded steps get weight zero."""
        if batch.length_RB is not None and self.shortest is not None:
            for generator, length_B in zip(draws, batch.length_RB, strict=True):
                length_B[...] = generator.integers(self.shortest, self.input_steps + 1, len(length_B))
            if batch.target_length_RB is not None and self.output_steps == self.input_steps:
                batch.target_length_RB[...] = batch.length_RB
        if batch.weight_RTB is not None:
            batch.weight_RTB.fill(1.0)
        self.draw(draws, batch)
        if batch.weight_RTB is not None and batch.target_length_RB is not None:
            steps = np.arange(self.output_steps)[:, None]
            batch.weight_RTB[steps >= batch.target_length_RB[:, None]] = 0.0

    def describe(self) -> Task:
        """Return the description that the API sends, for these parameters."""
        return Task(
            name=self.name,
            group=self.group,
            description=self.description,
            input_size=self.input_size,
            output_size=self.output_size,
            input_names=self.input_names,
            target_names=self.target_names,
            architectures=list(self.architectures),
            losses=list(self.losses),
            vocabulary_size=self.vocabulary_size,
            parameters=self.model_json_schema(),
            baseline=Baseline(predictor=self.predictor, loss=self.baseline_loss(), formula=self.formula),
            chance=self.chance,
            floor=self.floor(),
            origin=self.origin,
        )


def _numbered(name: str, width: int) -> list[str]:
    return [name] if width == 1 else [f"{name} {i}" for i in range(1, width + 1)]
