"""Workers and queues, for operators."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from unroll.contract.base import Response


class Worker(Response):
    """A worker process that has been heard of lately."""

    id: str
    host: str
    pid: int
    device: Literal["cpu", "cuda"]
    job: str | None
    """The job it is running, if that job is yours."""
    busy: bool
    alive: bool
    """Heard of within three heartbeats."""
    started_at: datetime
    seen_at: datetime
    version: str


class Queue(Response):
    """Jobs waiting and running for one kind of device."""

    device: Literal["auto", "cpu", "cuda"]
    queued: int
    running: int
    workers: int
    """Workers alive that can run these jobs."""


class Readiness(Response):
    """Whether a server can take work. One whose database does not answer says so with 503 and a problem."""

    status: Literal["ready", "degraded"]
    """degraded: jobs are accepted and stored, but start later than they should."""
    database: Literal["ok"]
    broker: Literal["ok", "unreachable"]
