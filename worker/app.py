"""The worker process: Celery's solo pool with one slot and one task that only says "look for work".

The task runs in the main thread and returns when nothing is queued any more. SIGTERM, SIGINT and a second SIGTERM all
have the same effect: the worker makes a checkpoint, gives the lease back and ends.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import time
import warnings
from typing import Any

from celery import Celery, signals
from celery.worker import state
from pydantic import ValidationError

from store import fleet, logs, schema
from store.db import Database
from store.errors import DatabaseUnavailable, DatabaseUnfit, SchemaMismatch
from store.folder import FolderUnusable, make_folder
from store.parent import follow
from store.queue import RING, Doorbell, Notifier, celery_app, heard_by
from store.settings import Settings
from store.sockets import NoFolderForSockets
from store.variables import warn_of_unknown
from worker import processes
from worker.reconciler import Reconciler
from worker.runner import CannotWork, Runner

log = logging.getLogger(__name__)

DATABASE_SECONDS = 30.0


def main(parent: int | None = None, token: str | None = None) -> int:
    """Run one worker until it is told to stop, and return the exit code.

    The code is 2 if the worker will never work like this: settings, data folder, device or schema are wrong. It stops
    when the process `parent` ends, if one is given. With `token`, whoever started it knows its id
    (`store.fleet.worker_id`).
    """
    warn_of_unknown()
    for number in (signal.SIGTERM, signal.SIGINT):  # until Celery listens for them
        signal.signal(number, _leave)
    if parent is not None:
        follow(parent)
    try:
        settings = Settings()
        _log(settings.log_level)
        make_folder(settings.data_dir)
        db = Database(settings)
        app = celery_app(settings)
        _check(db)
        children = processes.context()
        processes.warm(children)  # torch is loaded while Celery connects
    except (ValidationError, ValueError, SchemaMismatch, DatabaseUnfit, FolderUnusable, NoFolderForSockets) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except (DatabaseUnavailable, OSError) as error:  # a full disk, for example, which somebody may make room on
        sys.stderr.write(f"error: {error}\n")
        return 1
    worker_id = fleet.worker_id(os.getpid(), token or secrets.token_hex(4))
    doorbell, notifier = Doorbell(settings), Notifier(settings)
    runner = Runner(settings, db, worker_id, doorbell, notifier, children)
    reconciler = Reconciler(settings, db, worker_id, doorbell, lambda: runner.job_id)
    try:
        runner.prepare()
        return _listen(app, settings, worker_id, runner, reconciler)
    except CannotWork as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if error.ever else 1
    finally:
        runner.close()
        reconciler.stop()
        doorbell.close()
        notifier.close()
        db.close()


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


def _check(db: Database) -> None:
    """Wait a while for a database that is still starting. Raises SchemaMismatch, DatabaseUnfit, DatabaseUnavailable."""
    patience = time.monotonic() + DATABASE_SECONDS
    while True:
        try:
            return schema.check(db)
        except DatabaseUnfit:
            raise
        except DatabaseUnavailable:
            if time.monotonic() > patience:
                raise
            time.sleep(0.5)


def _listen(app: Celery, settings: Settings, worker_id: str, runner: Runner, reconciler: Reconciler) -> int:
    """Run Celery, which receives rings until a signal ends it, and return the exit code."""

    @app.task(name=RING, ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
    def ring(job_id: str) -> None:
        """Look for work. It does not matter which job rang: the best queued one is claimed."""
        log.debug("rung for %s", job_id)
        runner.work()

    def stop(_number: int, _frame: object) -> None:
        runner.drain()
        state.should_stop = 0

    def ready(**_: Any) -> None:
        # Celery's own handlers would print a line that is no log line, and end a running task at the second signal
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        reconciler.start()
        log.info("%s is ready on %s", worker_id, settings.device)

    def keep_logging(**_: Any) -> None:
        """Connect to a signal of Celery, which then does not set up logging itself."""

    signals.worker_ready.connect(ready)
    signals.setup_logging.connect(keep_logging)
    app.set_current()
    with warnings.catch_warnings():
        # when run as root, Celery warns of pickle, which is not accepted
        warnings.filterwarnings("ignore", message="(?s).*superuser privileges")
        worker = app.Worker(
            hostname=worker_id,
            pool="solo",
            concurrency=1,
            queues=heard_by(settings.device),
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        worker.start()
    return 1 if runner.broken else int(worker.exitcode or 0)


def _log(level: str) -> None:
    logs.configure(level, logs.EVERYTHING)
    logging.captureWarnings(capture=True)
    for noisy in ("celery", "kombu", "amqp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
