"""Sequences of a built-in task as NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike

from unroll import trials
from unroll._numbers import Floats
from unroll.contract import SampleResponse, Task

Ragged = Floats | list[Floats]
"""One array with a leading axis B where all sequences have the same length, otherwise a list with one for each."""


@dataclass(frozen=True, repr=False)
class Sample:
    """Some sequences of a task, that no job trains on.

    Arrays have a leading axis B if all sequences have the same length; otherwise there is a list with one array for
    each sequence.
    """

    task: Task
    """The task at these parameters, with its baseline."""
    parameters: dict[str, Any]
    """All parameters of the task."""
    seed: int
    inputs: Ragged
    """Inputs, [T, I] for each sequence. Tokens are numbers 0 … V - 1 with I = 1."""
    targets: Ragged
    """Targets, [T, O] for each sequence. Classes are one-hot."""
    weights: Ragged | None
    """How often each step counts in the loss, [T] for each sequence. None: each counts once."""

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.inputs)

    def __repr__(self) -> str:
        one = f"{list(self.inputs[0].shape)} to {list(self.targets[0].shape)}"
        return f"<sample of {self.task.name}: {len(self)} sequences {one}, seed {self.seed}>"

    @property
    def one_hot(self) -> Ragged:
        """The inputs as networks without a vocabulary read them: tokens as one-hot vectors [T, V]."""
        vocabulary = self.task.vocabulary_size
        if vocabulary is None:
            return self.inputs
        vectors = [np.eye(vocabulary)[one[:, 0].astype(int)] for one in self.inputs]
        return vectors if isinstance(self.inputs, list) else np.stack(vectors)

    def accuracy(self, outputs: Sequence[ArrayLike]) -> float:
        """Return the fraction of steps that count where the outputs, a prediction's, choose what the targets say.

        Of classes the largest output is chosen, of yes and no the sign, as networks write them that minimise
        cross_entropy or bce. A network with one output for each sequence is compared with the last step's target.
        Raises ValueError for a task whose targets are numbers.
        """
        if self.task.chance is None:
            raise ValueError(f"targets of {self.task.name} are numbers, which have a loss but no accuracy")
        right, counted = 0.0, 0.0
        for b, (given, target_TO) in enumerate(zip(outputs, self.targets, strict=True)):
            output, wanted = np.asarray(given, np.float64), np.asarray(target_TO)
            weight = np.ones(len(wanted)) if self.weights is None else np.asarray(self.weights[b])
            if output.ndim == 1:
                output, wanted, weight = output[None], wanted[-1:], np.ones(1)
            if output.shape != wanted.shape:
                raise ValueError(f"outputs[{b}] has shape {output.shape}, its targets {wanted.shape}")
            if self.task.losses[0] == "cross_entropy":
                correct = output.argmax(-1) == wanted.argmax(-1)
            else:
                correct = ((output > 0) == (wanted > 0.5)).mean(-1)
            right += float(weight @ correct)
            counted += float(weight.sum())
        return right / counted

    def plot(self, file: str | os.PathLike[str] | IO[bytes], sequence: int = 0) -> None:
        """Draw one sequence to a file, whose ending says the format (.png, .svg, .pdf), or as PNG to an open one.

        Needs unroll-sdk[plot].
        """
        trials.draw(self._trial(sequence), file)

    def text(self, sequence: int = 0, width: int = 80, *, colour: bool = False) -> str:
        """Return one sequence drawn with characters. Needs unroll-sdk[plot]."""
        return trials.drawn_with_characters(self._trial(sequence), width, colour=colour)

    def _trial(self, sequence: int) -> trials.Trial:
        weights = None if self.weights is None else self.weights[sequence]
        return trials.Trial(self.task, self.one_hot[sequence], self.targets[sequence], weights)


def sample(answer: SampleResponse) -> Sample:
    """Return the server's answer as arrays."""
    weights = None if answer.weights is None else _arrays(answer.weights)
    inputs, targets = _arrays(answer.inputs), _arrays(answer.targets)
    return Sample(answer.task, answer.parameters, answer.seed, inputs, targets, weights)


def _arrays(values: list[Any]) -> Ragged:
    arrays = [np.asarray(one, np.float64) for one in values]
    return np.stack(arrays) if len({one.shape for one in arrays}) == 1 else arrays
