"""Tasks whose sequences have one length, or any between two."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from rnn.data.sequences import SequenceTask
from unroll.contract.limits import MAX_LENGTH


class AnyLength(SequenceTask):
    """A task with as many outputs as inputs, and the parameters that say how many."""

    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] = 20
    """T, time steps in each sequence; with min_length in the longest."""
    min_length: Annotated[int, Field(ge=1, le=MAX_LENGTH)] | None = None
    """Time steps in the shortest sequence; null: all have `length`."""

    @field_validator("min_length")
    @classmethod
    def _at_most_length(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > info.data.get("length", value):
            raise ValueError(f"{value} is greater than length {info.data['length']}")
        return value

    @property
    def input_steps(self) -> int:
        """T."""
        return self.length

    @property
    def shortest(self) -> int | None:
        """The least T."""
        return self.min_length
