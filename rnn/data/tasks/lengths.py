"""Base class of tasks whose sequences have one length, or any length between two limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from rnn.data.sequences import SequenceTask
from unroll.contract.limits import MAX_LENGTH


class AnyLength(SequenceTask):
    """A task with as many output steps as input steps. Its parameters set the number of steps."""

    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] = 20
    """Number of time steps in each sequence, T; with min_length, in the longest sequence."""
    min_length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] | None = None
    """Number of time steps in the shortest sequence. null: all sequences have `length` steps."""

    @field_validator("min_length")
    @classmethod
    def _at_most_length(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > info.data.get("length", value):
            raise ValueError(f"{value} is greater than length {info.data['length']}")
        return value

    @property
    def input_steps(self) -> int:
        """Number of input steps, T."""
        return self.length

    @property
    def shortest(self) -> int | None:
        """Number of steps of the shortest sequence; None if all have the same length."""
        return self.min_length
