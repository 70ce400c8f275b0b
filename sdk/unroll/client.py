"""The client: a connection to one server, with the API's operations by noun."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from unroll._settings import discover
from unroll._transport import Retries, Transport
from unroll._wire import decode
from unroll.contract import BPTT, Check, Device, DType, Loss, Me, Network, Queue, TaskData, Training, Worker
from unroll.job import JobHandle
from unroll.resources import Checkpoints, Jobs, Keys, Models, Schemas
from unroll.resources.checks import check
from unroll.resources.models import Tasks
from unroll.resources.paging import Listing, path


class Client:
    """A connection to an Unroll server; safe to share between threads, closed by `with` or `close()`.

        client = Client()                       # the server on this machine, or UNROLL_URL and UNROLL_API_KEY
        client.tasks, client.models, client.jobs, client.checkpoints, client.keys     # one method an operation
        job = client.train(...)                 # a handle: job.wait(), job.metrics(), job.best()

    Requests that fail on the way are tried again where that cannot do anything twice.
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
        """Neither argument is needed where the server runs on this machine.

        url: for example https://unroll.example.org; else UNROLL_URL, else what `unroll-server up` left in its data
            folder (UNROLL_DATA_DIR), else http://127.0.0.1:8000.
        api_key: else UNROLL_API_KEY, else the key in that folder.
        timeout: seconds of silence after which a request counts as unanswered.
        attempts: how often one request is sent at most.
        outage: seconds without an answer that waiting for a job, or reading its events, outlives.
        Raises ValueError for an address that is no http(s) URL.
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
    def outage(self) -> float:
        """Seconds without an answer that waiting for a job outlives."""
        return self._transport.retries.outage

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
        data: TaskData | Mapping[str, Any],
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
    ) -> JobHandle:
        """Submit a train job; what is None is the server's default. Fields as in unroll.contract.TrainJob.

        Raises InvalidRequestError, whose `errors` point at the fields that are wrong.
        """
        optional = {
            "name": name,
            "seed": seed,
            "replicas": replicas,
            "device": device,
            "dtype": dtype,
            "max_seconds": max_seconds,
            "labels": labels,
            "priority": priority,
        }
        config: dict[str, Any] = {"kind": "train", "model": model, "data": data, "training": training}
        config |= {field: value for field, value in optional.items() if value is not None}
        return JobHandle(self, self.jobs.submit(config, idempotency_key=idempotency_key))

    def check(
        self,
        model: str | Network | Mapping[str, Any],
        *,
        time_steps: int | None = None,
        batch_size: int | None = None,
        replicas: int | None = None,
        seed: int | None = None,
        loss: Loss | Mapping[str, Any] | None = None,
        bptt: BPTT | Mapping[str, Any] | None = None,
        output_steps: int | None = None,
        teacher_forcing: float | None = None,
        variable_lengths: bool | None = None,
        entries: int | None = None,
    ) -> Check:
        """Hold a network's gradients by hand against autograd, complex steps and finite differences.

        `model` is a registered name or a configuration; what is None is the server's default. Fields as in
        unroll.contract.CheckRequest. Raises InvalidRequestError where it is wrong or would take too long.
        """
        optional = {
            "time_steps": time_steps,
            "batch_size": batch_size,
            "replicas": replicas,
            "seed": seed,
            "loss": loss,
            "bptt": bptt,
            "output_steps": output_steps,
            "teacher_forcing": teacher_forcing,
            "variable_lengths": variable_lengths,
            "entries": entries,
        }
        body = {"model": model} | {field: value for field, value in optional.items() if value is not None}
        return check(self._transport, body)

    def job(self, job_id: str) -> JobHandle:
        """The handle of a job that was submitted before, by whichever process."""
        return JobHandle(self, self.jobs.get(job_id))

    def me(self) -> Me:
        """Whose key this is, and what it may do."""
        return decode(Me, self._transport.request("GET", path("me")).content)

    def workers(self) -> Listing[Worker]:
        """The workers that were heard of lately."""
        return Listing(self._transport, path("workers"), Worker)

    def queues(self) -> Listing[Queue]:
        """Jobs waiting and running, by kind of device."""
        return Listing(self._transport, path("queues"), Queue)

    def ready(self) -> bool:
        """Whether the server answers and can take work. Raises nothing for a server that is away; asks once."""
        return self._transport.answers("/readyz")

    def alive(self) -> bool:
        """Whether the server's process answers at all; asks once."""
        return self._transport.answers("/livez")
