"""What every kind of job can say about itself in words, for people who look at it."""

from __future__ import annotations

from typing import ClassVar

from unroll.contract.base import Response


class Summary(Response):
    """The base of the summaries of all kinds. Fields that a kind does not describe in words are shown one by one."""

    result_type: ClassVar[type[Response] | None] = None
    """The type of the artifact `result.json`; None where it is any JSON, or where this kind makes none."""

    def headline(self) -> str | None:
        """Return what matters most in a few words; None while there is nothing to say."""
        return None

    def details(self) -> dict[str, object]:
        """Return everything there is to say, each under the name that people are shown; None: it is absent."""
        return {name.replace("_", " "): value for name, value in self if name != "kind"}

    def notes(self) -> list[str]:
        """Return a line for each event that happened to the job. Lines are only added while the job runs."""
        return []
