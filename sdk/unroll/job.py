"""A handle on one job: wait for it, read its curves, get its networks and files, and use its best network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import PrivateAttr

from unroll import _submissions
from unroll._wire import decode, summary_of
from unroll.contract import (
    ENDED,
    Artifact,
    Best,
    Checkpoint,
    EvaluationResult,
    Event,
    ExportFormat,
    Job,
    JobStatus,
    JobSummary,
    Loss,
    Network,
    Reduction,
    Replica,
    Returnable,
    TaskData,
)
from unroll.contract.shown import fields_html
from unroll.curves import Curves, held_out_losses, lag_profiles
from unroll.errors import JobCancelled, JobFailed, NotFoundError
from unroll.files import exported, save
from unroll.predictions import Prediction, StateLike
from unroll.progress import display
from unroll.resources import Checkpoints, Jobs
from unroll.resources.jobs import Config
from unroll.resources.paging import Listing
from unroll.waiting import watch
from unroll.weights import TorchNetwork, Weights

RESULT = "result.json"


class JobHandle:
    """A handle on a job of any kind. `job` holds its state when it was last read.

    `client.submit`, `client.train`, `client.evaluate`, `client.export` and `client.job` make handles.
    """

    def __init__(self, jobs: Jobs, checkpoints: Checkpoints, job: Job) -> None:
        self._jobs = jobs
        self._checkpoints = checkpoints
        self.job = job

    @property
    def id(self) -> str:
        """The job's id. `client.job(id)` returns a handle on the same job, in any process."""
        return self.job.id

    @property
    def status(self) -> JobStatus:
        """The status when the job was last read; `refresh()` reads it again."""
        return self.job.status

    @property
    def summary(self) -> JobSummary:
        """The summary of this kind of job when it was last read; `refresh()` reads it again."""
        return self.job.summary

    @property
    def ended(self) -> bool:
        """Whether the job had ended when it was last read."""
        return self.job.status in ENDED

    def __repr__(self) -> str:
        return repr(self.job)

    def _repr_html_(self) -> str:
        return self.job._repr_html_()

    def refresh(self) -> Job:
        """Read the job again and return it."""
        self.job = self._jobs.get(self.id)
        return self.job

    def wait(self, *, progress: bool = False, timeout: float | None = None) -> Job:
        """Wait until the job has succeeded, and return it in its final state.

        `progress` shows a bar with the loss and the time left: on a terminal, in a notebook, and as plain lines in a
        pipe. Interrupting the wait (Ctrl-C) leaves the job as it is, and says how to go on; a server that is away for
        some minutes is waited for too.
        Raises JobFailed, JobCancelled, and WaitTimeout after `timeout` seconds.
        """
        try:
            with display(visible=progress) as show:
                for job in self.watch(timeout=timeout):
                    show(job)
        except KeyboardInterrupt:
            # a new one: the frames of a request that happened to be under way say nothing to whoever pressed the keys
            raise KeyboardInterrupt(
                f'stopped waiting for job {self.id}, which goes on; client.job("{self.id}").wait(progress=True) waits '
                "again, .cancel() ends it"
            ) from None
        if self.job.status == "failed":
            raise JobFailed(self.job, told=progress)
        if self.job.status == "cancelled":
            raise JobCancelled(self.job, told=progress)
        return self.job

    def watch(self, *, timeout: float | None = None) -> Iterator[Job]:
        """Yield the job as it is now, and again after every change, until it has ended.

        Raises WaitTimeout after `timeout` seconds.
        """
        for job in watch(self._jobs, self.job, timeout=timeout):
            self.job = job
            yield job

    def metrics(self, *names: str, from_step: int = 0, max_points: int | None = None) -> Curves:
        """Return learning curves, all of them or the named ones: `job.metrics()["loss"]` is an array [steps, R]."""
        return self._jobs.metrics(self.id, names=names, from_step=from_step, max_points=max_points)

    def held_out_losses(self) -> dict[int, NDArray[np.float64]]:
        """Return the held-out losses so far, an array [R] by step. A train job has one at each evaluation."""
        return held_out_losses(self._jobs.journal(self.id))

    def lag_profiles(self) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Return the per-lag profiles so far: (lags [K], norms of dL/dh [R, K]) by step.

        A train job with `profile_every` has them. Lags count back from the last time step; for an encoder_decoder its
        encoder's steps come before its decoder's.
        """
        return lag_profiles(self._jobs.journal(self.id))

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """Yield the job's events as they happen, until it has ended: each event once, in order, without gaps."""
        return self._jobs.stream(self.id, after=after)

    def cancel(self) -> Job:
        """Cancel the job."""
        self.job = self._jobs.cancel(self.id)
        return self.job

    def pause(self) -> Job:
        """Pause the job; it makes a checkpoint first, if its kind makes any."""
        self.job = self._jobs.pause(self.id)
        return self.job

    def resume(self) -> Job:
        """Queue the paused job again."""
        self.job = self._jobs.resume(self.id)
        return self.job

    def retry(self) -> Job:
        """Queue the failed or cancelled job again. It continues from its last checkpoint."""
        self.job = self._jobs.retry(self.id)
        return self.job

    def delete(self) -> None:
        """Delete the ended job with its metrics, checkpoints and artifacts."""
        self._jobs.delete(self.id)

    def checkpoints(self) -> Listing[Checkpoint]:
        """List all checkpoints of the job."""
        return self._jobs.checkpoints(self.id)

    def artifacts(self) -> Listing[Artifact]:
        """List the files that the job made, besides its metrics and checkpoints."""
        return self._jobs.artifacts(self.id)

    def artifact(self, name: str) -> bytes:
        """Return the content of one of the job's files, checked against its SHA-256. Raises NotFoundError."""
        return self._jobs.artifact(self.id, name)

    def save_artifact(self, name: str, path: str | PathLike[str] | None = None) -> Path:
        """Write one of the job's files to `path`, a file or a folder, and return where it is.

        Without a path it goes into the current folder, under its own name. Raises NotFoundError and OSError.
        """
        return save(self.artifact(name), name, path)

    def result(self) -> Any:
        """Return the job's result, its artifact result.json; for an evaluate job it is an EvaluationResult.

        For a kind without a type of its own, it is the plain JSON value: a dict, for example. Raises LookupError if the
        job has no result, or none yet.
        """
        try:
            content = self.artifact(RESULT)
        except NotFoundError as error:
            raise LookupError(f"job {self.id} has no {RESULT}; it is {self.status}") from error
        kind = summary_of(self.job).result_type
        return json.loads(content) if kind is None else decode(kind, content)

    def best(self) -> BestNetwork:
        """Return the best network so far, by held-out loss.

        Raises LookupError before the first evaluation, and for kinds of jobs that have no best network.
        """
        summary = self.summary if self.ended else self.refresh().summary
        if not hasattr(summary, "best"):
            raise LookupError(f"job {self.id} has no best network: it is of the kind {self.job.kind}")
        if summary.best is None:
            raise LookupError(f"job {self.id} has not been evaluated yet")
        return BestNetwork(self._jobs, self._checkpoints, summary.best)

    def predict(
        self,
        inputs: ArrayLike | Sequence[ArrayLike],
        *,
        state: StateLike | None = None,
        returns: Sequence[Returnable] = ("outputs",),
        replica: Replica | None = None,
        steps: int | None = None,
        reduce: Reduction | None = None,
        binary: bool | None = None,
    ) -> Prediction:
        """Run sequences through the best checkpoint, by default its best replica.

        Arguments are as for `models.predict`.
        """
        options: dict[str, Any] = {"steps": steps, "reduce": reduce, "binary": binary}
        return self.best().predict(inputs, state=state, returns=returns, replica=replica, **options)


class BestNetwork:
    """A job's best network: one replica of one checkpoint."""

    def __init__(self, jobs: Jobs, checkpoints: Checkpoints, best: Best) -> None:
        self._jobs = jobs
        self._checkpoints = checkpoints
        self.checkpoint_id = best.checkpoint
        self.replica = best.replica
        self.loss = best.loss

    def __repr__(self) -> str:
        return f"<replica {self.replica} of checkpoint {self.checkpoint_id}: held-out loss {self.loss:.6g}>"

    def _repr_html_(self) -> str:
        about = {"checkpoint": self.checkpoint_id, "replica": self.replica, "held-out loss": self.loss}
        return fields_html(about, "best network")

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint, read again from the server."""
        return self._checkpoints.get(self.checkpoint_id)

    @property
    def network(self) -> Network:
        """The network's configuration."""
        return self.checkpoint.network

    def weights(self) -> Weights:
        """Return the weights of all replicas; `.replica(best.replica)` picks this one."""
        return self._checkpoints.weights(self.checkpoint_id)

    def to_torch(self, replica: int | Literal["best"] = "best") -> TorchNetwork:
        """Return this network, or another replica of its checkpoint, as torch.nn.RNN and torch.nn.Linear."""
        return self.weights().to_torch(self.replica if replica == "best" else replica)

    def predict(
        self,
        inputs: ArrayLike | Sequence[ArrayLike],
        *,
        state: StateLike | None = None,
        returns: Sequence[Returnable] = ("outputs",),
        replica: Replica | None = None,
        steps: int | None = None,
        reduce: Reduction | None = None,
        binary: bool | None = None,
    ) -> Prediction:
        """Run sequences through this network, or another replica of its checkpoint.

        Arguments are as for `models.predict`.
        """
        chosen = self._chosen(replica)
        options: dict[str, Any] = {"steps": steps, "reduce": reduce, "binary": binary}
        return self._checkpoints.predict(
            self.checkpoint_id, inputs, state=state, returns=returns, replica=chosen, **options
        )

    def evaluate(
        self,
        task: str | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        data: TaskData | Mapping[str, Any] | None = None,
        lengths: Sequence[int] | None = None,
        sequences: int | None = None,
        seed: int | None = None,
        replica: Replica | None = None,
        loss: Loss | Mapping[str, Any] | None = None,
        progress: bool = False,
        timeout: float | None = None,
    ) -> Evaluation:
        """Measure this network's loss on new sequences: submit an evaluate job, and wait for it.

            best.evaluate()                                    on the data that it was trained on
            best.evaluate(parameters={"length": 100})          on these data with another length
            best.evaluate(lengths=[20, 40, 100])               at several lengths: the curve of generalisation
            best.evaluate("adding", parameters={"length": 50}) on another task
            best.evaluate(replica="all")                       all replicas, with a confidence interval of their mean

        `data` is another way to give task and parameters. The other fields are those of unroll.contract.EvaluateJob.
        `progress`, `timeout` and the errors are those of `JobHandle.wait`. Raises ValueError for parameters without a
        task if the network was not trained on one.
        """
        optional = {"lengths": lengths, "sequences": sequences, "seed": seed, "loss": loss}
        config = _submissions.evaluate(
            self._checkpoints,
            self.checkpoint_id,
            task,
            parameters,
            data,
            replica=self._chosen(replica),
            **optional,
        )
        job = self._run(config, progress=progress, timeout=timeout)
        found = decode(Evaluation, job.artifact(RESULT))
        found._job = job  # noqa: SLF001 - what was just made is ours
        return found

    @overload
    def export(
        self,
        format: ExportFormat,
        path: None = None,
        *,
        replica: Replica | None = None,
        seed: int | None = None,
        progress: bool = False,
        timeout: float | None = None,
    ) -> bytes: ...

    @overload
    def export(
        self,
        format: ExportFormat,
        path: str | PathLike[str],
        *,
        replica: Replica | None = None,
        seed: int | None = None,
        progress: bool = False,
        timeout: float | None = None,
    ) -> Path: ...

    def export(
        self,
        format: ExportFormat,  # noqa: A002 - the field's name
        path: str | PathLike[str] | None = None,
        *,
        replica: Replica | None = None,
        seed: int | None = None,
        progress: bool = False,
        timeout: float | None = None,
    ) -> bytes | Path:
        """Write this network as a file for other programs: submit an export job, wait for it, and take its file.

        Returns the file's content. With a `path`, a file or a folder, it writes the file there and returns its path.
        The other fields are those of unroll.contract.ExportJob. `progress`, `timeout` and the errors are those of
        `JobHandle.wait`.
        """
        config = _submissions.export(self.checkpoint_id, format, replica=self._chosen(replica), seed=seed)
        job = self._run(config, progress=progress, timeout=timeout)
        name = exported(job.job)
        return job.artifact(name) if path is None else job.save_artifact(name, path)

    def _chosen(self, replica: Replica | None) -> Replica:
        return self.replica if replica is None or replica == "best" else replica

    def _run(self, config: Config, *, progress: bool, timeout: float | None) -> JobHandle:
        job = JobHandle(self._jobs, self._checkpoints, self._jobs.submit(config))
        job.wait(progress=progress, timeout=timeout)
        return job


class Evaluation(EvaluationResult):
    """An evaluation's result: the fields of unroll.contract.EvaluationResult, and the job that measured them."""

    _job: JobHandle = PrivateAttr()

    @property
    def job(self) -> JobHandle:
        """The evaluate job, which has ended."""
        return self._job

    def line(self) -> str:
        """Return what was found in one line."""
        return super().line().replace("evaluation:", f"evaluation {self._job.id}:", 1)
