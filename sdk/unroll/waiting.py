"""Waiting for jobs, whoever submitted them, through outages of the server."""

from __future__ import annotations

import time
from collections.abc import Iterator

from unroll.contract import ENDED, Job
from unroll.errors import APIConnectionError, ServerError, WaitTimeout
from unroll.resources import Jobs

LONG_POLL = 20.0
"""Seconds that one question waits for a change."""
GLANCE = 0.1
"""Shortest time between two looks at a job that changes all the time."""


def watch(jobs: Jobs, job: Job, *, timeout: float | None = None) -> Iterator[Job]:
    """Yield the job as it is now, and again after every change, until it has ended.

    The wait outlives an outage of the server, for as long as the client was told.
    Raises WaitTimeout after `timeout` seconds.
    """
    start = time.monotonic()
    etag: str | None = None
    silent_since: float | None = None
    while True:
        left = LONG_POLL if timeout is None else min(LONG_POLL, timeout - (time.monotonic() - start))
        asked = time.monotonic()
        try:
            changed, etag = jobs.changed(job.id, etag, wait=max(left, 0.0) if etag else 0.0)
        except (APIConnectionError, ServerError):
            silent_since = asked if silent_since is None else silent_since
            if time.monotonic() - silent_since > jobs.outage:
                raise
            changed = None
        else:
            silent_since = None
        if changed is not None:
            job = changed
            yield job
            if job.status in ENDED:
                return
        if timeout is not None and time.monotonic() - start >= timeout:
            raise WaitTimeout(job, timeout)
        if (rest := GLANCE - (time.monotonic() - asked)) > 0:
            time.sleep(rest)
