"""One job in hand: wait for it, look at its curves, take its networks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.contract import ENDED, Best, Checkpoint, Event, Job, JobStatus, Network, Replica, Returnable
from unroll.curves import Curves
from unroll.errors import APIConnectionError, JobCancelled, JobFailed, ServerError, WaitTimeout
from unroll.predictions import Prediction, StateLike
from unroll.resources.paging import Listing
from unroll.weights import TorchNetwork, Weights

if TYPE_CHECKING:
    from unroll.client import Client

LONG_POLL = 20.0
"""Seconds that one question waits for a change."""
GLANCE = 0.1
"""Shortest time between two looks at a job that changes all the time."""


class JobHandle:
    """A job and the client that it was submitted with. `job` is its state when it was last looked at."""

    def __init__(self, client: Client, job: Job) -> None:
        self._client = client
        self.job = job

    @property
    def id(self) -> str:
        """The job's id; `client.job(id)` gives the handle again, from any process."""
        return self.job.id

    @property
    def status(self) -> JobStatus:
        """The status when it was last looked at; `refresh()` looks again."""
        return self.job.status

    @property
    def ended(self) -> bool:
        """Whether the job had ended when it was last looked at."""
        return self.job.status in ENDED

    def __repr__(self) -> str:
        progress = self.job.progress
        return f"<job {self.id}: {self.status}, step {progress.step} of {progress.total}>"

    def refresh(self) -> Job:
        """Look again."""
        self.job = self._client.jobs.get(self.id)
        return self.job

    def wait(self, *, progress: bool = False, timeout: float | None = None) -> Job:
        """Wait until the job has succeeded; the job as it ended.

        `progress` shows a bar with the loss and the time left. Interrupting the wait (Ctrl-C) leaves the job as it is,
        and a server that is away for some minutes is waited for too.
        Raises JobFailed, JobCancelled, and WaitTimeout after `timeout` seconds.
        """
        from unroll.progress import display

        with display(visible=progress) as show:
            for job in self.watch(timeout=timeout):
                show(job)
        if self.job.status == "failed":
            raise JobFailed(self.job)
        if self.job.status == "cancelled":
            raise JobCancelled(self.job)
        return self.job

    def watch(self, *, timeout: float | None = None) -> Iterator[Job]:
        """The job now, and again after every change, until it has ended. Raises WaitTimeout after `timeout` seconds."""
        start = time.monotonic()
        etag: str | None = None
        silent_since: float | None = None
        while True:
            left = LONG_POLL if timeout is None else min(LONG_POLL, timeout - (time.monotonic() - start))
            asked = time.monotonic()
            try:
                job, etag = self._client.jobs.changed(self.id, etag, wait=max(left, 0.0) if etag else 0.0)
            except (APIConnectionError, ServerError):
                silent_since = asked if silent_since is None else silent_since
                if time.monotonic() - silent_since > self._client.outage:
                    raise
                job = None
            else:
                silent_since = None
            if job is not None:
                self.job = job
                yield job
                if job.status in ENDED:
                    return
            if timeout is not None and time.monotonic() - start >= timeout:
                raise WaitTimeout(self.job, timeout)
            if (rest := GLANCE - (time.monotonic() - asked)) > 0:
                time.sleep(rest)

    def metrics(self, *names: str, from_step: int = 0, max_points: int | None = None) -> Curves:
        """Learning curves, all of them or those named: `job.metrics()["loss"]` is an array [steps, R]."""
        return self._client.jobs.metrics(self.id, names=names, from_step=from_step, max_points=max_points)

    def lag_profiles(self) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The per-lag profiles so far, of a job with `profile_every`: (lags [K], norms of dL/dh [R, K]) by step.

        Lags count back from the last time step; an encoder_decoder has its encoder's, and then its decoder's.
        A takeover after a crash computes the steps after its checkpoint once more: the later one stands.
        """
        found: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        after = 0
        while page := self._client.jobs.events(self.id, after=after).data:
            after = page[-1].seq
            for event in page:
                if event.type == "lag_profile":
                    lag, norm = np.array(event.data["lag"], np.int64), np.array(event.data["norm"], np.float64)
                    found[event.data["step"]] = lag, norm
        return found

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """The job's events as they happen, until it has ended: each once, in order, without gaps."""
        return self._client.jobs.stream(self.id, after=after)

    def cancel(self) -> Job:
        """Cancel the job."""
        self.job = self._client.jobs.cancel(self.id)
        return self.job

    def pause(self) -> Job:
        """Pause the job; it makes a checkpoint first."""
        self.job = self._client.jobs.pause(self.id)
        return self.job

    def resume(self) -> Job:
        """Queue the paused job again."""
        self.job = self._client.jobs.resume(self.id)
        return self.job

    def retry(self) -> Job:
        """Queue the failed or cancelled job again; it goes on from its last checkpoint."""
        self.job = self._client.jobs.retry(self.id)
        return self.job

    def delete(self) -> None:
        """Delete the ended job with its metrics and checkpoints."""
        self._client.jobs.delete(self.id)

    def checkpoints(self) -> Listing[Checkpoint]:
        """All checkpoints of the job."""
        return self._client.jobs.checkpoints(self.id)

    def best(self) -> BestNetwork:
        """The best network so far, by held-out loss. Raises LookupError before the first evaluation."""
        best = self.job.best if self.ended else self.refresh().best
        if best is None:
            raise LookupError(f"job {self.id} has not been evaluated yet")
        return BestNetwork(self._client, best)

    def predict(
        self,
        inputs: ArrayLike | Sequence[ArrayLike],
        *,
        state: StateLike | None = None,
        returns: Sequence[Returnable] = ("outputs",),
        replica: Replica | None = None,
        steps: int | None = None,
    ) -> Prediction:
        """Run sequences through the best checkpoint; by default its best replica. Arguments as for `models.predict`."""
        return self.best().predict(inputs, state=state, returns=returns, replica=replica, steps=steps)


class BestNetwork:
    """A job's best network: one replica of one checkpoint."""

    def __init__(self, client: Client, best: Best) -> None:
        self._client = client
        self.checkpoint_id = best.checkpoint
        self.replica = best.replica
        self.loss = best.loss

    def __repr__(self) -> str:
        return f"<replica {self.replica} of checkpoint {self.checkpoint_id}: held-out loss {self.loss:.6g}>"

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint, asked for anew."""
        return self._client.checkpoints.get(self.checkpoint_id)

    @property
    def network(self) -> Network:
        """The network's configuration."""
        return self.checkpoint.network

    def weights(self) -> Weights:
        """The weights of all replicas; `.replica(best.replica)` picks this one."""
        return self._client.checkpoints.weights(self.checkpoint_id)

    def to_torch(self, replica: int | Literal["best"] = "best") -> TorchNetwork:
        """This network, or another replica of its checkpoint, as torch.nn.RNN and torch.nn.Linear."""
        return self.weights().to_torch(self.replica if replica == "best" else replica)

    def predict(
        self,
        inputs: ArrayLike | Sequence[ArrayLike],
        *,
        state: StateLike | None = None,
        returns: Sequence[Returnable] = ("outputs",),
        replica: Replica | None = None,
        steps: int | None = None,
    ) -> Prediction:
        """Run sequences through this network, or another replica of its checkpoint. Arguments as `models.predict`."""
        chosen: Replica = self.replica if replica is None or replica == "best" else replica
        return self._client.checkpoints.predict(
            self.checkpoint_id, inputs, state=state, returns=returns, replica=chosen, steps=steps
        )
