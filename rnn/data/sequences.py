"""What every built-in task is: its parameters, and seeded sequences addressed by (seed, replica, step).

Sequences may differ in length: they lie at the beginning of their memory, and what comes after them is padding, whose
values never matter. Lengths and weights become one number for each output step, how often it counts in the loss.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rnn.randomness.streams import Draws, Purpose
from unroll.contract import Architecture, Baseline, HeldOut, Loss, Request, Task

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Memory for the sequences of R replicas. Input and output steps are as many as the longest sequence has."""

    x_RTBI: Array
    """Inputs. Tokens are numbers 0 … V-1, I = 1."""
    target_RTBO: Array
    """Targets: numbers, class probabilities, probabilities or counts, as the loss wants them."""
    weight_RTB: Array | None = None
    """How often each output step counts; None: each counts once."""
    length_RB: npt.NDArray[np.int64] | None = None
    """Valid input steps of each sequence; None: all."""
    target_length_RB: npt.NDArray[np.int64] | None = None
    """Valid output steps; None: as many as input steps, where both are equally many."""


class SequenceTask(Request):
    """A task. Its fields are the task's parameters, its JSON Schema is theirs."""

    name: ClassVar[str]
    description: ClassVar[str]
    predictor: ClassVar[str]
    """The trivial predictor of the baseline."""
    formula: ClassVar[str]
    """Its expected loss as a function of the parameters, for the first architecture and loss and full lengths."""
    architectures: ClassVar[tuple[Architecture, ...]] = ("many_to_many", "many_to_one")
    """The architectures that its sequences are for, the usual one first."""
    losses: ClassVar[tuple[str, ...]] = ("mse",)
    """The types of loss that its targets are for, the usual one first."""
    weighted: ClassVar[bool] = False
    """Whether `draw` writes how often each output step counts."""

    @property
    @abstractmethod
    def input_steps(self) -> int:
        """Input steps of the longest sequence."""

    @property
    def output_steps(self) -> int:
        """Output steps of the longest sequence; here as many as input steps."""
        return self.input_steps

    def steps(self, architecture: Architecture) -> int:
        """T, the time steps that a network runs for the longest sequence; an encoder's and then its decoder's."""
        if architecture == "encoder_decoder":
            return self.input_steps + self.output_steps
        return max(self.input_steps, self.output_steps)

    @property
    def shortest(self) -> int | None:
        """Input steps of the shortest sequence; None: all are equally long. Lengths between are equally likely."""
        return None

    @property
    def vocabulary_size(self) -> int | None:
        """V, where inputs are tokens."""
        return None

    @property
    @abstractmethod
    def input_size(self) -> int:
        """I, what a network without a vocabulary reads; of tokens it is V, one of which is 1."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """O."""

    @abstractmethod
    def costs(self, loss: str) -> npt.NDArray[np.float64]:
        """Expected cost of the trivial predictor at each output step that is valid, [T].

        It is the mean over outputs, but for cross_entropy, which has one cost a step.
        """

    @abstractmethod
    def draw(self, draws: Draws, batch: Batch) -> None:
        """Fill inputs and targets of R replicas (and weights, if `weighted`), each from its own draws alone.

        Inputs are drawn as float32 whatever the arrays' dtype, so both precisions see the same sequences. Lengths have
        been drawn before, from the same draws.
        """

    def weights(self) -> npt.NDArray[np.float64]:
        """Expected weight of each output step in a sequence of full length, [T]; here 1."""
        return np.ones(self.output_steps)

    def baseline_loss(self, architecture: Architecture | None = None, loss: Loss | None = None) -> float:
        """Exact expected loss of the trivial predictor, as the job counts it.

        Where sequences differ in length it is the ratio of expected cost and expected weight, which the loss of a large
        batch tends to.
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
                weight_T = weight_T * (lengths >= steps[:, None]).mean(1)
        elif architecture == "many_to_one":
            cost_T, weight_T = cost_T[-1:], np.ones(1)
        if loss is not None and loss.time_weights is not None:
            weight_T = weight_T * np.asarray(loss.time_weights)
        total = float(cost_T @ weight_T)
        if loss is not None and loss.type == "mse" and loss.over == "sequences":
            return total * self.output_size * (1 / len(cost_T) if architecture == "many_to_one" else 1)
        return total / float(weight_T.sum())

    def allocate(
        self, replicas: int, sequences: int, *, dtype: npt.DTypeLike = np.float32, weighted: bool = False
    ) -> Batch:
        """Memory for `draw`: with weights where the task has them, where sequences differ in length, or if asked."""
        lengths = self.shortest is not None
        width = self.input_size if self.vocabulary_size is None else 1
        return Batch(
            np.zeros((replicas, self.input_steps, sequences, width), dtype),
            np.zeros((replicas, self.output_steps, sequences, self.output_size), dtype),
            np.ones((replicas, self.output_steps, sequences), dtype) if self.weighted or lengths or weighted else None,
            np.full((replicas, sequences), self.input_steps, np.int64) if lengths else None,
            np.full((replicas, sequences), self.output_steps, np.int64) if lengths else None,
        )

    def draw_all(self, draws: Draws, batch: Batch) -> None:
        """Lengths, inputs, targets and weights; padded steps weigh nothing."""
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

    def batch(self, seed: int, replica: int, step: int, batch_size: int) -> Batch:
        """The sequences of one step, R = 1; they depend on nothing but the arguments."""
        return self._one(Draws(seed, Purpose.BATCHES, [replica]).at(step), batch_size)

    def held_out(self, held_out: HeldOut) -> Batch:
        """Sequences for evaluation, R = 1, from keys that no training stream has."""
        return self._one(Draws(held_out.seed, Purpose.HELD_OUT), held_out.size)

    def _one(self, draws: Draws, size: int) -> Batch:
        memory = self.allocate(1, size)
        self.draw_all(draws, memory)
        return memory

    def describe(self) -> Task:
        """The description that the API answers, of these parameters."""
        return Task(
            name=self.name,
            description=self.description,
            input_size=self.input_size,
            output_size=self.output_size,
            architectures=list(self.architectures),
            losses=list(self.losses),
            vocabulary_size=self.vocabulary_size,
            parameters=self.model_json_schema(),
            baseline=Baseline(predictor=self.predictor, loss=self.baseline_loss(), formula=self.formula),
        )
