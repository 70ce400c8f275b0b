"""The client: a connection to one server, with the API's operations grouped by noun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from unroll import _submissions
from unroll._settings import discover
from unroll._transport import Retries, Transport
from unroll._wire import decode, given
from unroll.contract import (
    BPTT,
    Check,
    Device,
    DType,
    ExportFormat,
    Job,
    Loss,
    Me,
    Network,
    Queue,
    Replica,
    TaskData,
    Training,
    Worker,
)
from unroll.job import JobHandle
from unroll.live import LiveStream, open_stream, resume_stream
from unroll.progress import at_a_prompt, say_estimate
from unroll.resources import Checkpoints, Jobs, Keys, Models, Schemas
from unroll.resources.checks import check
from unroll.resources.jobs import Config
from unroll.resources.models import Tasks
from unroll.resources.paging import Listing, path


class Client:
    """A connection to an Unroll server. It may be shared between threads; `with` or `close()` closes it.

        client = Client()                       # the server on this machine, or UNROLL_URL and UNROLL_API_KEY
        client.tasks, client.models, client.jobs, client.checkpoints, client.keys     # one method for each operation
        job = client.train(...)                 # a handle: job.wait(), job.metrics(), job.best()
        client.evaluate(...), client.export(...), client.submit(...)     # jobs of other kinds, as handles too
        client.stream("name")                   # a live stream: stream.push(x), the server keeps the hidden state

    Requests that fail on the way are sent again if that cannot do anything twice.

    A client, its handles and all that it returns can be pickled, and used in a process that was forked: there they have
    connections of their own. What was pickled has the key in it, so that a worker can use it: do not give it away.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        attempts: int = 5,
        outage: float = 300.0,
    ) -> None:
        """Neither argument is needed if the server runs on this machine.

        url: for example https://unroll.example.org; default: UNROLL_URL, else what `unroll-server up` left in its data
            folder (UNROLL_DATA_DIR), else http://127.0.0.1:8000.
        api_key: default: UNROLL_API_KEY, else the key in that folder.
        timeout: seconds of silence after which a request counts as unanswered.
        attempts: largest number of times that one request is sent.
        outage: seconds without an answer that waiting for a job, or reading its events, survives.
        Raises ValueError for an address that is not an http(s) URL, for a key with a character that no key has, and
        for a proxy (HTTPS_PROXY, ALL_PROXY, ...) or certificates (SSL_CERT_FILE) that the environment names and that
        cannot be used.
        """
        retries = Retries(attempts=attempts, outage=outage)
        self._transport = Transport(discover(url, api_key), timeout=timeout, retries=retries)
        self.tasks = Tasks(self._transport)
        self.models = Models(self._transport)
        self.jobs = Jobs(self._transport)
        self.checkpoints = Checkpoints(self._transport)
        self.keys = Keys(self._transport)
        self.schemas = Schemas(self._transport)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._transport.settings.url

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def train(
        self,
        *,
        model: str | Network | Mapping[str, Any],
        data: str | TaskData | Mapping[str, Any],
        training: Training | Mapping[str, Any],
        name: str | None = None,
        seed: int | None = None,
        replicas: int | None = None,
        device: Device | None = None,
        dtype: DType | None = None,
        max_seconds: float | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        confirm_long: bool = False,
    ) -> JobHandle:
        """Submit a train job. An argument that is None takes the server's default. Fields: unroll.contract.TrainJob.

        Short forms mean what they say: data="integrate_noise", and in training optimizer="adam", loss="mse", clip=1.0.

        Raises InvalidRequestError, whose `errors` point at the fields that are wrong.
        """
        optional = given(
            name=name,
            seed=seed,
            replicas=replicas,
            device=device,
            dtype=dtype,
            max_seconds=max_seconds,
            labels=labels,
            priority=priority,
        )
        config = {"kind": "train", "model": model, "data": data, "training": training, **optional}
        return self.submit(config, idempotency_key=idempotency_key, confirm_long=confirm_long)

    def evaluate(
        self,
        checkpoint: str,
        task: str | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        data: str | TaskData | Mapping[str, Any] | None = None,
        lengths: Sequence[int] | None = None,
        sequences: int | None = None,
        seed: int | None = None,
        replica: Replica | None = None,
        loss: str | Loss | Mapping[str, Any] | None = None,
        name: str | None = None,
        device: Device | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> JobHandle:
        """Submit an evaluate job, which measures a checkpoint's networks on sequences that nobody trained on.

        `checkpoint` is its id. The data are those of `task` with `parameters`, or `data`; without a task they are what
        the checkpoint was trained on, with these `parameters` changed. What else is None is the server's default.
        Fields as in unroll.contract.EvaluateJob; `job.wait()`, then `job.result()` is what was found.
        Raises InvalidRequestError, whose `errors` point at the fields that are wrong, and ValueError for parameters
        without a task where the checkpoint was not trained on one.
        """
        config = _submissions.evaluate(
            self.checkpoints,
            checkpoint,
            task,
            parameters,
            data,
            lengths=lengths,
            sequences=sequences,
            seed=seed,
            replica=replica,
            loss=loss,
            name=name,
            device=device,
            labels=labels,
            priority=priority,
        )
        return self.submit(config, idempotency_key=idempotency_key)

    def export(
        self,
        checkpoint: str,
        format: ExportFormat,  # noqa: A002 - the field's name
        *,
        replica: Replica | None = None,
        seed: int | None = None,
        name: str | None = None,
        device: Device | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> JobHandle:
        """Submit an export job, which writes a checkpoint's network as a file for other programs.

        `checkpoint` is its id; what is None is the server's default. Fields as in unroll.contract.ExportJob. After
        `job.wait()`, `job.summary.artifact` is the file's name for `job.artifact` and `job.save_artifact`.
        Raises InvalidRequestError where the format cannot hold such a network.
        """
        config = _submissions.export(
            checkpoint,
            format,
            replica=replica,
            seed=seed,
            name=name,
            device=device,
            labels=labels,
            priority=priority,
        )
        return self.submit(config, idempotency_key=idempotency_key)

    def submit(self, config: Config, *, idempotency_key: str | None = None, confirm_long: bool = False) -> JobHandle:
        """Submit a job of any kind: one of the contract's types, or the same as plain JSON.

        However often the request has to be sent, it is one job; `idempotency_key` makes that hold across processes.
        At a prompt and in a notebook a job of more than a minute is announced with its estimated time. One of more than
        a day needs `max_seconds`, or `confirm_long`.
        Raises InvalidRequestError, whose `errors` point at the fields that are wrong.
        """
        job = self.jobs.submit(config, idempotency_key=idempotency_key, confirm_long=confirm_long)
        if at_a_prompt():
            say_estimate(job)
        return self.handle(job)

    def handle(self, job: Job) -> JobHandle:
        """Make a handle of a job that is at hand, one of `client.jobs.list()` for example."""
        return JobHandle(self.jobs, self.checkpoints, job)

    def check(
        self,
        model: str | Network | Mapping[str, Any],
        *,
        time_steps: int | None = None,
        batch_size: int | None = None,
        replicas: int | None = None,
        seed: int | None = None,
        loss: str | Loss | Mapping[str, Any] | None = None,
        bptt: BPTT | Mapping[str, Any] | None = None,
        output_steps: int | None = None,
        teacher_forcing: float | None = None,
        variable_lengths: bool | None = None,
        entries: int | None = None,
    ) -> Check:
        """Compare a network's hand-written gradients with autograd, complex steps and finite differences.

        `model` is a registered name or a configuration. An argument that is None takes the server's default. Fields:
        unroll.contract.CheckRequest. Raises InvalidRequestError if the request is wrong or would take too long.
        """
        optional = given(
            time_steps=time_steps,
            batch_size=batch_size,
            replicas=replicas,
            seed=seed,
            loss=loss,
            bptt=bptt,
            output_steps=output_steps,
            teacher_forcing=teacher_forcing,
            variable_lengths=variable_lengths,
            entries=entries,
        )
        return check(self._transport, {"model": model, **optional})

    def job(self, job_id: str) -> JobHandle:
        """Return the handle of a job that was submitted before, by any process."""
        return self.handle(self.jobs.get(job_id))

    def stream(
        self,
        model: str | None = None,
        *,
        checkpoint: str | None = None,
        replica: Replica = "best",
        sequences: int = 1,
        ttl: float = 3600.0,
    ) -> LiveStream:
        """Begin a live stream through a model or a checkpoint: push steps as they come, the server keeps the state.

        with client.stream("integrator") as stream:
            y = stream.push([0.5])

        `ttl`: seconds after the last step at which the server forgets the stream. Raises ValueError unless either a
        model or a checkpoint is named.
        """
        if (model is None) == (checkpoint is None):
            raise ValueError("name either a model or a checkpoint")
        return open_stream(self._transport, model, checkpoint, replica, sequences, ttl)

    def resume_stream(self, session_id: str) -> LiveStream:
        """Go on with a live stream that was begun before, also in another process. Raises NotFoundError."""
        return resume_stream(self._transport, session_id)

    def me(self) -> Me:
        """Return the key that you use, its owner, and what it may do."""
        return decode(Me, self._transport.request("GET", path("me")).content)

    def workers(self) -> Listing[Worker]:
        """Return the workers that reported recently."""
        return Listing(self._transport, path("workers"), Worker)

    def queues(self) -> Listing[Queue]:
        """Return waiting and running jobs for each kind of device."""
        return Listing(self._transport, path("queues"), Queue)

    def ready(self) -> bool:
        """Return whether the server answers and can take work.

        It asks once, and raises no error if the server does not answer.
        """
        return self._transport.answers("/readyz")

    def alive(self) -> bool:
        """Return whether the server's process answers. It asks once."""
        return self._transport.answers("/livez")
