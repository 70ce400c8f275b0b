"""What every built-in task is: its parameters, and seeded sequences addressed by (seed, replica, step)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rnn.randomness import Purpose, Stream
from unroll.contract import Baseline, HeldOut, Request, Task

Float32 = npt.NDArray[np.float32]


class SequenceTask(Request):
    """A task. Its fields are the task's parameters, its JSON Schema is theirs."""

    name: ClassVar[str]
    description: ClassVar[str]
    input_size: ClassVar[int]
    output_size: ClassVar[int]
    predictor: ClassVar[str]
    """The trivial predictor of the baseline."""
    losses: ClassVar[tuple[str, ...]] = ("mse",)
    """The types of loss that its targets are for."""
    formula: ClassVar[str]
    """Its expected loss as a function of the parameters."""

    @property
    @abstractmethod
    def time_steps(self) -> int:
        """T, the length of every sequence."""

    @abstractmethod
    def baseline_loss(self, *, last_only: bool = False) -> float:
        """Exact expected mean squared error of the trivial predictor, over all steps or at the last one alone."""

    @abstractmethod
    def draw(
        self, generators: Sequence[np.random.Generator], x_RTBI: npt.NDArray[Any], y_RTBO: npt.NDArray[Any]
    ) -> None:
        """Fill inputs and targets of R replicas, each from its own generator alone.

        Inputs are drawn as float32 whatever the arrays' dtype, so both precisions see the same sequences.
        """

    def batch(self, seed: int, replica: int, step: int, batch_size: int) -> tuple[Float32, Float32]:
        """Inputs [T, B, I] and targets [T, B, O] of one step; they depend on nothing but the arguments."""
        return self._one(Stream(seed, Purpose.BATCHES, replica).at(step), batch_size)

    def held_out(self, held_out: HeldOut) -> tuple[Float32, Float32]:
        """Inputs [T, N, I] and targets [T, N, O] for evaluation, from keys that no training stream has."""
        return self._one(Stream(held_out.seed, Purpose.HELD_OUT).at(0), held_out.size)

    def _one(self, generator: np.random.Generator, size: int) -> tuple[Float32, Float32]:
        x_RTBI = np.empty((1, self.time_steps, size, self.input_size), np.float32)
        y_RTBO = np.empty((1, self.time_steps, size, self.output_size), np.float32)
        self.draw([generator], x_RTBI, y_RTBO)
        return x_RTBI[0], y_RTBO[0]

    @classmethod
    def describe(cls) -> Task:
        """The description that the API answers."""
        return Task(
            name=cls.name,
            description=cls.description,
            input_size=cls.input_size,
            output_size=cls.output_size,
            parameters=cls.model_json_schema(),
            baseline=Baseline(predictor=cls.predictor, loss=cls().baseline_loss(), formula=cls.formula),
        )


class Batches:
    """The training batches of R replicas, drawn straight into the given arrays."""

    def __init__(self, task: SequenceTask, seed: int, x_RTBI: npt.NDArray[Any], target_RTBO: npt.NDArray[Any]) -> None:
        self._task = task
        self._streams = [Stream(seed, Purpose.BATCHES, r) for r in range(len(x_RTBI))]
        self._arrays = x_RTBI, target_RTBO

    def fill(self, step: int) -> None:
        """Overwrite the arrays with the batch of `step`: for each replica the same values as `SequenceTask.batch`."""
        self._task.draw([stream.at(step) for stream in self._streams], *self._arrays)
