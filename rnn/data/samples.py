"""Draws some sequences of a task for people and programs outside of a job, after it was checked that they are few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnn.data.sequences import SequenceTask
from rnn.data.source import Array
from rnn.errors import ConfigurationError
from unroll.contract import HeldOut
from unroll.contract.limits import MAX_SAMPLE_STEPS, MAX_SAMPLE_VALUES


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences of a task without their padding: an array [T, I], [T, O] and [T] for each."""

    inputs: list[Array]
    targets: list[Array]
    weights: list[Array] | None


def values(task: SequenceTask, sequences: int) -> int:
    """Return how many values a sample has, padding included.

    Raises ConfigurationError at /parameters or /sequences if so many sequences would be too large an answer.

    Nothing is drawn: sizes alone say so. Some tasks are drawn step by step, so that steps are limited too.
    """
    steps = max(task.input_steps, task.output_steps)
    width = task.input_size if task.vocabulary_size is None else 1
    one = task.input_steps * width + task.output_steps * (task.output_size + task.weighted)
    if steps > MAX_SAMPLE_STEPS or one > MAX_SAMPLE_VALUES:
        detail = (
            f"one sequence of {steps:,} steps has {one:,} values; a sample has sequences of at most "
            f"{MAX_SAMPLE_STEPS:,} steps and {MAX_SAMPLE_VALUES:,} values"
        )
        raise ConfigurationError("/parameters", "too_many_values", detail)
    if sequences * one > MAX_SAMPLE_VALUES:
        detail = (
            f"{sequences:,} sequences of {one:,} values each are more than {MAX_SAMPLE_VALUES:,} values; at most "
            f"{MAX_SAMPLE_VALUES // one:,} sequences fit"
        )
        raise ConfigurationError("/sequences", "too_many_values", detail)
    return sequences * one


def sample(task: SequenceTask, sequences: int, seed: int) -> Sequences:
    """Return the held-out set of this size and seed, without padding. `values` must have said that it is small."""
    drawn = task.held_out(HeldOut(size=sequences, seed=seed))
    lengths = drawn.length_RB if drawn.target_length_RB is None else drawn.target_length_RB

    def cut(array_RTB: Array, lengths_RB: Any) -> list[Array]:
        return [array_RTB[0, : None if lengths_RB is None else lengths_RB[0, b], b] for b in range(sequences)]

    weights = cut(drawn.weight_RTB, lengths) if task.weighted and drawn.weight_RTB is not None else None
    return Sequences(cut(drawn.x_RTBI, drawn.length_RB), cut(drawn.target_RTBO, lengths), weights)
