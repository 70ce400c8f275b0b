"""Objects that the routes of one API process share. They are made when it starts and closed when it stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from api.checks import Checks
from api.feeds import Feeds
from api.front import Glance
from api.inference import Predictors
from api.sessions import Sessions
from api.shadows import Shadows
from api.short_way.known import Known
from api.tallies import Tallies
from api.telemetry import Telemetry
from store.db import Database
from store.queue import Doorbell, Notifier
from store.settings import Settings


@dataclass(frozen=True)
class Service:
    """The shared objects of one API process."""

    settings: Settings
    db: Database
    doorbell: Doorbell
    notifier: Notifier
    feeds: Feeds
    predictors: Predictors
    telemetry: Telemetry
    known: Known
    sessions: Sessions
    shadows: Shadows
    stopping: asyncio.Event
    """Set when the process is told to stop: waiting requests then answer what they have."""
    checks: Checks = field(default_factory=Checks)
    glance: Glance = field(default_factory=Glance)
    tallies: Tallies = field(default_factory=Tallies)

    @property
    def queued_by_default(self) -> int | None:
        """The number of queued jobs that a key without such a limit may have; None: no limit."""
        return self.settings.queued_jobs or None

    @property
    def alive_seconds(self) -> float:
        """A worker that has been silent for this many seconds is not alive."""
        return 3 * max(self.settings.reconcile_seconds, 1.0)


async def of_request(request: Request) -> Service:
    """Return the service that received the request."""
    service: Service = request.app.state.service
    return service


CurrentService = Annotated[Service, Depends(of_request)]
