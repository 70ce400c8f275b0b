"""Workers and queues, as operators see them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from unroll.contract.base import Response


class Worker(Response):
    """A worker process that reported recently."""

    id: str
    host: str
    pid: int
    device: Literal["cpu", "cuda"]
    job: str | None
    """The job that it runs, if that job is yours."""
    busy: bool
    alive: bool
    """Whether it reported within three heartbeats."""
    started_at: datetime
    seen_at: datetime
    version: str


class Queue(Response):
    """Waiting and running jobs for one kind of device."""

    device: Literal["auto", "cpu", "cuda"]
    queued: int
    running: int
    workers: int
    """Number of living workers that can run these jobs."""


class Readiness(Response):
    """Whether the server can take work.

    If its database does not answer or takes no writes, the server answers 503 with a problem instead. What only reads
    may work all the same.
    """

    status: Literal["ready", "degraded"]
    """degraded: jobs are accepted and stored, but start later than usual."""
    database: Literal["ok"]
    broker: Literal["ok", "unreachable"]
