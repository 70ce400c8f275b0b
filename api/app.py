"""The application: uvicorn runs `create_app(settings)`."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from types import FrameType

import anyio.to_thread
from fastapi import Depends, FastAPI

from api import document, errors, logs
from api.heads import Heads
from api.inference import Predictors
from api.limits import BodyLimit
from api.memory import Budget, HoldMemory
from api.observe import Observe
from api.routes import (
    artifacts,
    checkpoints,
    checks,
    docs,
    events,
    fleet,
    front,
    health,
    jobs,
    keys,
    me,
    metrics,
    models,
    schemas,
    tasks,
)
from api.routes.parameters import only_known
from api.service import Service
from api.telemetry import Telemetry
from store import schema
from store.db import Database
from store.queue import Doorbell, Notifier
from store.settings import Settings
from store.wakeups import Wakeups

THREADS = 24
"""Number of requests processed at once: fewer than connections in the database's pool (30), so that none waits for
one."""


def create_app(settings: Settings) -> FastAPI:
    """Return the API for these settings. It opens nothing before it is started.

    Starting raises SchemaMismatch if the database does not have this program's schema, and DatabaseUnavailable.
    """
    logs.configure(settings.log_level)
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        db = Database(settings)
        doorbell, notifier, wakeups = Doorbell(settings), Notifier(settings), Wakeups(settings)
        try:
            await anyio.to_thread.run_sync(schema.check, db)
            await wakeups.start()
            service = Service(settings, db, doorbell, notifier, wakeups, Predictors(), telemetry)
            telemetry.watch(db, service.alive_seconds, lambda: doorbell.failures)
            app.state.service = service
            _end_waits_at_a_stop(service.stopping)
            yield
        finally:
            await wakeups.close()
            await anyio.to_thread.run_sync(doorbell.close)
            await anyio.to_thread.run_sync(notifier.close)
            db.close()

    app = FastAPI(
        title="Unroll",
        version=_version(),
        description=document.DESCRIPTION,
        openapi_tags=document.TAGS,
        lifespan=lifespan,
        dependencies=[Depends(only_known)],
        openapi_url=None,  # routes.docs serves the document, and Swagger UI from this server's own files
        redirect_slashes=False,
    )
    errors.install(app)
    document.install(app)
    for noun in (
        jobs,
        events,
        metrics,
        artifacts,
        models,
        checkpoints,
        tasks,
        checks,
        schemas,
        keys,
        me,
        fleet,
        health,
        front,
        docs,
    ):
        app.include_router(noun.router)
    app.mount(docs.ASSETS, docs.Assets())
    app.add_middleware(HoldMemory, budget=Budget(settings.held_bytes))
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(Heads)
    app.add_middleware(Observe, telemetry=telemetry)
    return app


def _end_waits_at_a_stop(stopping: asyncio.Event) -> None:
    """Set `stopping` at SIGTERM or SIGINT, before the lifespan ends.

    uvicorn ends the lifespan only after every open stream has ended, which would be too late for streams that wait.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def stop(number: int, frame: FrameType | None, before: object = before) -> None:
            loop.call_soon_threadsafe(stopping.set)
            if callable(before):
                before(number, frame)

        if callable(before):  # uvicorn's own handler; where nobody stops the loop, a signal keeps its meaning
            signal.signal(number, stop)


def _version() -> str:
    try:
        return version("unroll-server")
    except PackageNotFoundError:
        return "0.1.0"
