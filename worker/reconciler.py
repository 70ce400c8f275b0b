"""The thread next to every worker that recovers whatever was lost: rings, leases, workers.

It needs no leader: everything it does is a conditional write, and an extra ring is harmless.
"""

from __future__ import annotations

import logging
import os
import platform
import random
import threading
import time
from collections.abc import Callable
from importlib.metadata import version

from store import blobs, fleet, recovery
from store.db import Database
from store.errors import DatabaseUnavailable
from store.queue import Doorbell
from store.settings import Settings

log = logging.getLogger(__name__)

SWEEP_SECONDS = 10.0
"""Interval at which a piece of the blobs is searched for those that nothing needs."""


class Reconciler:
    """Sends the worker's heartbeat, and finds jobs whose ring or lease was lost."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        worker_id: str,
        doorbell: Doorbell,
        job_at_hand: Callable[[], str | None],
    ) -> None:
        """`job_at_hand` returns the job that the worker runs."""
        self._settings, self._db, self._worker_id, self._doorbell = settings, db, worker_id, doorbell
        self._job_at_hand = job_at_hand
        self._watch = recovery.Watch(settings.lease_seconds)
        # often enough that a round that is a little late is no gap in the watch
        self._wait_seconds = min(settings.reconcile_seconds, settings.lease_seconds / 4)
        self._sweep_at = time.monotonic() + random.uniform(0.5, 1.5) * SWEEP_SECONDS  # noqa: S311
        self._swept = f"{random.getrandbits(256):064x}"  # workers begin at different pieces
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Start the thread, which does its first round at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and remove the worker from the list."""
        self._stop.set()
        if self._thread.is_alive():  # it was started
            self._thread.join(5.0)
        try:
            fleet.dismiss(self._db, self._worker_id)
        except DatabaseUnavailable as error:
            log.warning("cannot take this worker off the list: %s", error)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.reconcile()
            except DatabaseUnavailable as error:
                log.warning("%s", error)
            except Exception:
                log.exception("reconciling failed")  # the next round tries again: nothing else would do its work
            # so that not all workers do it at the same moment
            self._stop.wait(self._wait_seconds * random.uniform(0.9, 1.1))  # noqa: S311

    def reconcile(self) -> None:
        """Do one round. Raises DatabaseUnavailable."""
        while (now := fleet.seen(self._db, self._worker_id, self._job_at_hand())) is None:
            # it has just started, or it slept for so long that others have forgotten it
            host, device = platform.node()[:255], self._settings.device
            fleet.enlist(self._db, self._worker_id, host, os.getpid(), device, version("unroll-server"))
        if self._watch.look(now):
            for waiting in recovery.expire(self._db, self._settings.max_crashes, now):
                job = {"job": waiting.job_id}
                log.warning("%s: its worker was not heard of any more; it is queued again", waiting.job_id, extra=job)
                self._doorbell.ring(waiting.job_id, waiting.device)
        for waiting in recovery.unheard(self._db, self._settings.reconcile_seconds):
            self._doorbell.ring(waiting.job_id, waiting.device)
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_SECONDS
            deleted, self._swept = blobs.sweep(self._db, self._swept)
            if deleted:
                log.info("deleted %d blobs that nothing needs", deleted)
