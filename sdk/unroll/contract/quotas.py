"""Limits: how much one key, and all keys of one tenant together, may use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Request, Response

LimitName = Literal[
    "max_active_jobs",
    "queued_jobs",
    "running_jobs",
    "job_seconds",
    "stored_bytes",
    "streams",
    "requests_per_minute",
    "held_bodies",
    "sessions",
]
"""The limits that a problem with the code `quota_exceeded` may name."""

_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Limits(Request):
    """Limits of a key or of a tenant. A field that is null sets no limit, beside those of the server."""

    queued_jobs: _Count | None = None
    """Largest number of jobs that wait in the queue. A key without this limit has the server's, 1,000 by default."""
    running_jobs: _Count | None = None
    """Largest number of jobs that run at once. Further jobs wait in the queue."""
    job_seconds: Annotated[float, Field(gt=0, le=1e10)] | None = None
    """Longest running time of one job, in seconds. A job that is estimated to take longer needs a `max_seconds` within
    the limit. A job that runs longer fails with `time_limit`, and its last checkpoint is kept."""
    stored_bytes: Annotated[int, Field(ge=1, le=2**53)] | None = None
    """Largest size of all checkpoints and artifacts together, in bytes. Beyond it no job is accepted, and a job that
    would store more fails with `quota_exceeded`."""
    streams: _Count | None = None
    """Largest number of event streams that are open at once, in each API process."""
    requests_per_minute: _Count | None = None
    """Largest number of requests in a minute, in each API process."""
    held_bodies: _Count | None = None
    """Largest number of request bodies that arrive at once, in each API process."""
    sessions: _Count | None = None
    """Largest number of live sessions. A key without this limit may have 1,000."""


class Allowance(Response):
    """One limit, and how much of it is used."""

    limit: float | None
    """null: no limit."""
    used: float | None
    """Jobs are counted up to 10,000 where there is no limit. null: nothing is counted."""


class Allowances(Response):
    """Every limit of a key or a tenant beside what is used.

    Streams, requests and bodies are those of the API process that answers.
    """

    queued_jobs: Allowance
    running_jobs: Allowance
    job_seconds: Allowance
    stored_bytes: Allowance
    streams: Allowance
    requests_per_minute: Allowance
    held_bodies: Allowance
    sessions: Allowance

    def told(self) -> dict[str, str]:
        """Return every limit that is set as `used of limit`."""
        found: dict[str, Allowance] = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: f"{one.limit:,g}" if one.used is None else f"{one.used:,.0f} of {one.limit:,.0f}"
            for name, one in found.items()
            if one.limit is not None
        }
