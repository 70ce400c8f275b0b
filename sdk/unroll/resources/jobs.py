"""Jobs: submit, look, steer, and follow."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unroll._characters import VISIBLE, require
from unroll._sse import follow
from unroll._transport import Params, Transport
from unroll._wire import decode
from unroll.contract import ENDED, Artifact, Checkpoint, DryRun, Event, Job, JobRequest, JobStatus, Metrics, Page
from unroll.curves import Curves
from unroll.errors import UnexpectedAnswerError
from unroll.resources.paging import Listing, path

Config = JobRequest | Mapping[str, Any]
"""A job of any kind: one of the contract's types, or the same as plain JSON."""


class Jobs:
    """Jobs of all kinds. `Client.submit` and `Client.job` give a handle that is more comfortable for one job."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def outage(self) -> float:
        """Seconds without an answer that waiting for a job outlives."""
        return self._transport.retries.outage

    def submit(self, config: Config, *, idempotency_key: str | None = None, confirm_long: bool = False) -> Job:
        """Submit a job. However often the request has to be sent, it is one job.

        `idempotency_key` makes that hold across calls and processes too: the same key with the same configuration
        is the same job, with another one it is an InvalidRequestError. It has 1 to 255 printable ASCII characters
        without spaces. `confirm_long` accepts a job that is estimated to take more than a day and has no `max_seconds`.
        Raises ValueError for other characters, and for values that JSON does not have.
        """
        if idempotency_key is not None:
            require(idempotency_key, VISIBLE, "the idempotency key", "it has printable ASCII characters without spaces")
        headers = {"Idempotency-Key": str(uuid.uuid4()) if idempotency_key is None else idempotency_key}
        params = {"confirm_long": "true"} if confirm_long else None
        response = self._transport.request(
            "POST", path("jobs"), params=params, body=config, headers=headers, repeatable=True
        )
        return decode(Job, response.content)

    def dry_run(self, config: Config) -> DryRun:
        """What a job would be and cost; nothing is stored."""
        params = {"dry_run": "true"}
        response = self._transport.request("POST", path("jobs"), body=config, params=params, repeatable=True)
        return decode(DryRun, response.content)

    def list(
        self,
        *,
        status: Sequence[JobStatus] = (),
        labels: Mapping[str, str] | None = None,
        kind: str | None = None,
        model: str | None = None,
        name: str | None = None,
        parent: str | None = None,
        limit: int | None = None,
    ) -> Listing[Job]:
        """List jobs that match every filter, newest first; `limit` is the size of one page.

        `parent` is the id of a job: only those that read what it made. `model` is a registered model that is trained.
        """
        pairs = [f"{label}:{value}" for label, value in (labels or {}).items()]
        params: Params = {
            "status": list(status),
            "label": pairs,
            "kind": kind,
            "model": model,
            "name": name,
            "parent": parent,
            "limit": limit,
        }
        return Listing(self._transport, path("jobs"), Job, params)

    def get(self, job_id: str, *, wait: float = 0.0) -> Job:
        """A job as it is now; `wait`: first wait up to so many seconds until it has ended."""
        response = self._transport.request("GET", path("jobs", job_id), headers=_prefer(wait), patience=wait)
        return decode(Job, response.content)

    def changed(self, job_id: str, etag: str | None, *, wait: float = 0.0) -> tuple[Job | None, str | None]:
        """The job and its ETag if it is not the one that `etag` stands for; `wait` up to so many seconds for that.

        (None, etag) where nothing has changed.
        """
        headers = _prefer(wait) | ({"If-None-Match": etag} if etag else {})
        response = self._transport.request("GET", path("jobs", job_id), headers=headers, patience=wait)
        if response.status_code == 304:
            return None, etag
        return decode(Job, response.content), response.headers.get("ETag")

    def cancel(self, job_id: str) -> Job:
        """Cancel; a running job stops at its next step. Cancelling twice is no error."""
        return self._steer(job_id, "cancel", repeatable=True)

    def pause(self, job_id: str) -> Job:
        """Pause; a running job makes a checkpoint first."""
        return self._steer(job_id, "pause", repeatable=True)

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again."""
        return self._steer(job_id, "resume", repeatable=True)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
        return self._steer(job_id, "retry", repeatable=False)

    def delete(self, job_id: str) -> None:
        """Delete an ended job with its metrics and checkpoints. Raises ConflictError while it has not ended."""
        self._transport.request("DELETE", path("jobs", job_id))

    def events(self, job_id: str, *, after: int = 0, limit: int | None = None) -> Page[Event]:
        """Return one page of the job's journal as it is now, beginning with event `after` + 1.

        The page's `next` is the `after` of the following one; None when the job has ended and this was all.
        """
        params = {"after": after, "limit": limit}
        return decode(
            Page[Event], self._transport.request("GET", path("jobs", job_id, "events"), params=params).content
        )

    def journal(self, job_id: str) -> Iterator[Event]:
        """Yield all events of the job's journal as it is now, however many pages they fill."""
        after = 0
        while page := self.events(job_id, after=after).data:
            yield from page
            after = page[-1].seq

    def stream(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """The job's events from event `after` + 1 on, as they happen, until it has ended: each once, in order, no gaps.

        Connections that break are opened again. The job knows nothing of readers: to stop reading changes nothing.
        """
        where = path("jobs", job_id, "events")
        return follow(self._transport, where, after=after, ended=lambda: self.get(job_id).status in ENDED)

    def metrics(
        self, job_id: str, *, names: Sequence[str] = (), from_step: int = 0, max_points: int | None = None
    ) -> Curves:
        """Learning curves, every point of them; `max_points` thins each, keeping its end points and extremes.

        A long job's come in several requests. Raises InvalidRequestError for thinned curves that are still too large.
        """
        pages: list[Metrics] = []
        while not pages or pages[-1].next is not None:
            params: Params = {
                "names": list(names),
                "from_step": pages[-1].next if pages else from_step,
                "max_points": max_points,
            }
            response = self._transport.request("GET", path("jobs", job_id, "metrics"), params=params)
            pages.append(decode(Metrics, response.content))
        return Curves(*pages)

    def checkpoints(self, job_id: str, *, limit: int | None = None) -> Listing[Checkpoint]:
        """The job's checkpoints; `limit` is the size of one page."""
        return Listing(self._transport, path("jobs", job_id, "checkpoints"), Checkpoint, {"limit": limit})

    def artifacts(self, job_id: str) -> Listing[Artifact]:
        """List the files that the job made, besides its metrics and checkpoints."""
        return Listing(self._transport, path("jobs", job_id, "artifacts"), Artifact)

    def artifact(self, job_id: str, name: str) -> bytes:
        """Return the content of one artifact.

        Raises NotFoundError, and UnexpectedAnswerError where the content does not have its SHA-256.
        """
        response = self._transport.request("GET", path("jobs", job_id, "artifacts", name))
        sha256 = response.headers.get("ETag", "").removeprefix("W/").strip('"')
        if hashlib.sha256(response.content).hexdigest() != sha256:
            raise UnexpectedAnswerError(f"The artifact {name} of {job_id} does not have its SHA-256; it was damaged.")
        return response.content

    def _steer(self, job_id: str, verb: str, *, repeatable: bool) -> Job:
        return decode(Job, self._transport.request("POST", path("jobs", job_id, verb), repeatable=repeatable).content)


def _prefer(seconds: float) -> dict[str, str]:
    return {"Prefer": f"wait={math.ceil(seconds)}"} if seconds > 0 else {}
