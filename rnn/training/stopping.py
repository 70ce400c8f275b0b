"""Decides when a replica has been trained enough: by early stopping, or by a requested skill. NumPy only.

Each replica is judged by its own held-out loss, at the evaluations of `evaluate_every`. A replica that stops keeps its
weights from then on. Unlike a diverged replica it has valid weights, and its evaluations continue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnn.errors import ConfigurationError
from rnn.training.problem import Problem
from unroll.contract import StopReason

REASONS: tuple[StopReason, ...] = ("early_stopping", "skill_reached")


@dataclass(frozen=True, slots=True)
class Stopping:
    """Which replicas have stopped so far, and what early stopping remembers of each; arrays [R]."""

    step: npt.NDArray[np.int64]
    """The step at which the replica stopped; 0: it has not stopped."""
    reason: npt.NDArray[np.int64]
    """Why it stopped, as an index into REASONS."""
    lowest: npt.NDArray[np.float64]
    """The held-out loss that the next one must improve on for early stopping."""
    waited: npt.NDArray[np.int64]
    """The number of evaluations in a row that did not improve on `lowest`."""

    @classmethod
    def none(cls, replicas: int) -> Stopping:
        """Return the record before the first evaluation."""
        zero = np.zeros(replicas, np.int64)
        return cls(zero, zero.copy(), np.full(replicas, np.inf), zero.copy())

    def why(self, replica: int) -> StopReason:
        """Return why this replica stopped."""
        return REASONS[int(self.reason[replica])]

    def last_reason(self) -> StopReason:
        """Return why the last replica stopped; if several stopped in the same step, the first of them."""
        return self.why(int(np.argmax(self.step)))


def judge(
    problem: Problem, so_far: Stopping, step: int, loss_R: npt.NDArray[np.float64], diverged_R: npt.NDArray[np.bool_]
) -> npt.NDArray[np.intp]:
    """Record an evaluation in `so_far`, in place, and return the replicas that stop at it.

    A loss that is not finite is no improvement. If a replica meets both rules, the reason is its skill.
    """
    training = problem.training
    training_on = (so_far.step == 0) & ~diverged_R
    stops = np.zeros(len(loss_R), bool)
    if training.early_stopping is not None:
        better = training_on & (loss_R < so_far.lowest - training.early_stopping.min_delta)
        so_far.lowest[better] = loss_R[better]
        so_far.waited[training_on] += 1
        so_far.waited[better] = 0
        stops = training_on & (so_far.waited >= training.early_stopping.patience)
        so_far.reason[stops] = REASONS.index("early_stopping")
    if training.stop_at_skill is not None:
        reached = training_on & (1 - loss_R / problem.baseline_loss >= training.stop_at_skill)
        so_far.reason[reached] = REASONS.index("skill_reached")
        stops |= reached
    so_far.step[stops] = step
    return np.flatnonzero(stops)


def validate(problem: Problem) -> None:
    """Raise ConfigurationError for rules that could never stop this run."""
    training = problem.training
    steps, every = training.steps, training.evaluate_every
    if training.early_stopping is not None:
        patience = training.early_stopping.patience
        # The first evaluation is what the next ones are compared with. At the last step the run ends anyway.
        if (patience + 1) * every >= steps:
            detail = (
                f"after a first evaluation, {patience} more every {every:,} steps end at step "
                f"{(patience + 1) * every:,}; the run has {steps:,} steps"
            )
            raise ConfigurationError("/training/early_stopping/patience", "contradiction", detail)
    if training.stop_at_skill is not None:
        pointer = "/training/stop_at_skill"
        if every >= steps:
            detail = f"skill is measured every {every:,} steps, and the run has {steps:,}"
            raise ConfigurationError(pointer, "contradiction", detail)
        if not problem.baseline_loss > 0:
            detail = "skill is 1 - loss / baseline loss, and this task has no positive baseline loss"
            raise ConfigurationError(pointer, "contradiction", detail)
