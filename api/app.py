"""The application: uvicorn runs `create_app(settings)`."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from types import FrameType

import anyio.to_thread
from fastapi import Depends, FastAPI

from api import document, errors, targets
from api.feeds import Feeds
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
    open_inference,
    predictions,
    schemas,
    session_socket,
    sessions,
    tasks,
)
from api.routes.parameters import only_known
from api.service import Service
from api.sessions import Sessions
from api.shadows import Shadows
from api.short_way.desk import Desk
from api.short_way.known import Known
from api.short_way.plain import Counter
from api.telemetry import Telemetry
from store import logs, schema
from store.db import Database
from store.queue import Doorbell, Notifier
from store.settings import Settings

THREADS = 24
"""Number of requests processed at once: fewer than connections in the database's pool (30), so that none waits for
one."""


def create_app(settings: Settings) -> FastAPI:
    """Return the API for these settings. It opens nothing before it is started.

    Starting raises SchemaMismatch if the database does not have this program's schema, and DatabaseUnavailable.
    """
    logs.configure(settings.log_level, logs.API)
    telemetry = Telemetry()
    known = Known()
    shadows = Shadows(telemetry.shadowed)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        db = Database(settings)
        doorbell, notifier, stopping = Doorbell(settings), Notifier(settings), asyncio.Event()
        feeds = Feeds(settings, db, stopping)
        live: Sessions | None = None
        fresh: asyncio.Task[None] | None = None
        try:
            await anyio.to_thread.run_sync(schema.check, db)
            await feeds.start()
            predictors = Predictors()
            live = Sessions(db, partial(targets.of_checkpoint, db, predictors), app.state.counter.desk.flush)
            service = Service(
                settings, db, doorbell, notifier, feeds, predictors, telemetry, known, live, shadows, stopping
            )
            live.start()
            app.state.counter.sessions = live
            telemetry.watch(db, service.alive_seconds, lambda: doorbell.failures, live.__len__)
            fresh = asyncio.create_task(telemetry.keep_fresh())
            app.state.service = service
            _end_waits_at_a_stop(stopping)
            yield
        finally:
            if fresh is not None:
                fresh.cancel()
            if live is not None:
                await live.close()
            shadows.close()
            await feeds.close()
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
        predictions,
        sessions,
        open_inference,
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
    app.router.routes.append(session_socket.route)
    app.mount(docs.ASSETS, docs.Assets())
    app.add_middleware(HoldMemory, budget=Budget(settings.held_bytes))
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    app.add_middleware(Heads)
    app.add_middleware(Observe, telemetry=telemetry, known=known)
    app.state.counter = Counter(known, Desk(telemetry), telemetry, shadows)
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
