"""What every kind of job can say about itself in words, for people who look at it."""

from __future__ import annotations

from typing import ClassVar

from unroll.contract.base import Response
from unroll.contract.shown import duration

LONG = 60.0
"""Seconds from which on people are told how long a job may take."""


class Summary(Response):
    """The base of the summaries of all kinds. Fields that a kind does not describe in words are shown one by one."""

    result_type: ClassVar[type[Response] | None] = None
    """The type of the artifact `result.json`; None where it is any JSON, or where this kind makes none."""

    estimated_seconds: float | None = None
    """Estimated time of the whole job on one CPU worker; good to a factor of about three. Null: not known."""

    def estimate(self) -> str | None:
        """Return roughly how long the whole job takes; None for a job of seconds, and where it is not known."""
        if self.estimated_seconds is None or self.estimated_seconds <= LONG:
            return None
        return f"about {duration(self.estimated_seconds)} on one CPU worker"

    def headline(self) -> str | None:
        """Return what matters most in a few words; None while there is nothing to say."""
        return None

    def details(self) -> dict[str, object]:
        """Return everything there is to say, each under the name that people are shown; None: it is absent."""
        return {name.replace("_", " "): value for name, value in self if name not in {"kind", "estimated_seconds"}}

    def notes(self) -> list[str]:
        """Return a line for each event that happened to the job. Lines are only added while the job runs."""
        return []
