"""The worker process: Celery's solo pool with one slot and one task that only says "look for work".

The task runs in the main thread and returns when nothing is queued any more. SIGTERM, SIGINT and a second SIGTERM all
have the same effect: the worker makes a checkpoint, gives the lease back and ends.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import sys
import time
import warnings
from typing import Any

from celery import Celery, signals
from pydantic import ValidationError

from store import fleet, schema
from store.db import Database
from store.errors import DatabaseUnavailable, DatabaseUnfit, SchemaMismatch
from store.folder import FolderUnusable, make_folder
from store.parent import follow
from store.queue import RING, Doorbell, Notifier, celery_app, heard_by
from store.settings import Settings
from store.variables import warn_of_unknown
from worker import processes
from worker.reconciler import Reconciler
from worker.runner import Runner

log = logging.getLogger(__name__)

DATABASE_SECONDS = 30.0
DEVICE_SECONDS = 120.0
NO_CUDA = (
    "UNROLL_DEVICE=cuda, but torch sees no CUDA device; without this variable the worker trains on the CPU, and "
    "`unroll-server doctor` tells which torch is installed"
)
SEES_CUDA = "import sys, torch; sys.exit(not torch.cuda.is_available())"


def main(parent: int | None = None, token: str | None = None) -> int:
    """Run one worker until it is told to stop, and return the exit code.

    The code is 2 if the worker will never work like this: settings, data folder, device or schema are wrong. It stops
    when the process `parent` ends, if one is given. With `token`, whoever started it knows its id
    (`store.fleet.worker_id`).
    """
    warn_of_unknown()
    if parent is not None:
        follow(parent)
    try:
        settings = Settings()
        _log_to_stderr(settings.log_level)
        make_folder(settings.data_dir)
        db = Database(settings)
        app = celery_app(settings)
        _check(db)
        _check_device(settings)
    except (ValidationError, ValueError, SchemaMismatch, DatabaseUnfit, FolderUnusable) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except (DatabaseUnavailable, OSError) as error:  # a full disk, for example, which somebody may make room on
        sys.stderr.write(f"error: {error}\n")
        return 1
    children = processes.context()
    processes.warm(children)  # torch is loaded while Celery connects
    worker_id = fleet.worker_id(os.getpid(), token or secrets.token_hex(4))
    doorbell, notifier = Doorbell(settings), Notifier(settings)
    runner = Runner(settings, db, worker_id, doorbell, notifier, children)
    reconciler = Reconciler(settings, db, worker_id, doorbell, lambda: runner.job_id)
    try:
        return _listen(app, settings, worker_id, runner, reconciler)
    finally:
        runner.close()
        reconciler.stop()
        doorbell.close()
        notifier.close()
        db.close()


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


def _check_device(settings: Settings) -> None:
    """Check that the device exists, because a worker without it would claim and fail one job after another.

    A separate process checks it: this one never loads torch, and the forkserver of the trainers never touches CUDA.
    Raises ValueError.
    """
    if settings.device != "cuda":
        return
    asked = subprocess.run([sys.executable, "-P", "-c", SEES_CUDA], timeout=DEVICE_SECONDS, check=False)  # noqa: S603
    if asked.returncode != 0:
        raise ValueError(NO_CUDA)


def _listen(app: Celery, settings: Settings, worker_id: str, runner: Runner, reconciler: Reconciler) -> int:
    """Run Celery, which receives rings until a signal ends it, and return the exit code."""

    @app.task(name=RING, ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
    def ring(job_id: str) -> None:
        """Look for work. It does not matter which job rang: the best queued one is claimed."""
        log.debug("rung for %s", job_id)
        runner.work()

    def drain(**_: Any) -> None:
        runner.drain()

    def ready(**_: Any) -> None:
        # Ctrl-C has the meaning of SIGTERM; by itself Celery would end a running task at the second one
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
        runner.prepare()
        reconciler.start()
        log.info("%s is ready on %s", worker_id, settings.device)

    def keep_logging(**_: Any) -> None:
        """Connect to a signal of Celery, which then does not set up logging itself."""

    signals.worker_shutting_down.connect(drain)
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
    return int(worker.exitcode or 0)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for noisy in ("celery", "kombu", "amqp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
