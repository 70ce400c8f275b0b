"""A real API server for a test, and a worker that does what workers do to the store, without training."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
import uvicorn

from api.app import create_app
from api.short_way.protocol import config
from rnn.networks.parameters import initialise
from rnn.networks.weights import dump_weights
from store import jobs, keys, leases
from store.checkpoints import NewCheckpoint
from store.db import Database
from store.leases import Lease, Report
from store.metrics import Block
from store.settings import Settings
from unroll.contract import Network, NewKey, TrainJob

ALL = ("read", "write", "predict", "admin")

JOB: dict[str, Any] = {
    "kind": "train",
    "model": {"cell": {"hidden_size": 3}, "input_size": 1, "output_size": 1},
    "data": {"name": "integrate_noise", "parameters": {"length": 5}},
    "training": {"steps": 100},
    "replicas": 2,
}


@dataclass(frozen=True)
class Api:
    """A running server, its database, and clients for it."""

    settings: Settings
    db: Database
    url: str

    def key(self, *scopes: str, tenant: str = "ours", **fields: Any) -> str:
        """The secret of a new key."""
        new = NewKey(name="test", scopes=list(scopes or ALL), **fields)  # type: ignore[arg-type]
        return keys.create(self.db, self.settings.hash_secret, tenant, new).secret

    def client(self, *scopes: str, tenant: str = "ours", **fields: Any) -> httpx2.Client:
        """A client with a new key."""
        headers = {"Authorization": f"Bearer {self.key(*scopes, tenant=tenant, **fields)}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False, verify=False)

    def count(self, tenant: str = "ours") -> int:
        """Jobs that are stored."""
        return len(jobs.list_(self.db, tenant, limit=200).data)


@contextmanager
def serving(settings: Settings) -> Iterator[Api]:
    """The server in a thread, on a port of its own."""
    app = create_app(settings)
    server = uvicorn.Server(
        config(app, settings.body_seconds, port=0, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    db = Database(settings, pool_size=2)
    try:
        yield Api(settings, db, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(20)
        db.close()
    assert not thread.is_alive(), "the server did not stop"


def fetch(method: str, url: str, **options: Any) -> httpx2.Response:
    """One request without a key. Plain HTTP needs none of the machine's certificates, whose reading takes 0.2 s."""
    return httpx2.request(method, url, verify=False, trust_env=False, **options)


def claim(api: Api) -> Lease:
    """Become the worker of the next job."""
    lease = leases.claim(api.db, "worker-1", "cpu", 60.0)
    assert lease is not None
    return lease


def weights(network: Network, replicas: int, seed: int = 0) -> bytes:
    """Real ones, untrained."""
    return dump_weights(network, "float32", initialise(network, seed, replicas))


def checkpoint(lease: Lease, step: int, losses: tuple[float, ...] | None = None, seed: int = 0) -> None:
    """Report a checkpoint of the job's network."""
    config = lease.config
    assert isinstance(config, TrainJob)
    network = config.model
    assert isinstance(network, Network)
    best = None if losses is None else int(np.argmin(losses))
    new = NewCheckpoint(
        step=step,
        reason="periodic",
        weights=weights(network, config.replicas, seed + step),
        state=b"what only resuming needs",
        losses=losses,
        best_replica=best,
        replicas=config.replicas,
        network=network,
        dtype=config.dtype,
        data=config.data,
        loss=config.training.loss,
        keep=config.training.keep_checkpoints,
    )
    leases.report(lease, Report(checkpoint=new, step=step))


def progress(lease: Lease, count: int) -> None:
    """Add so many events to the journal."""
    leases.report(lease, Report(entries=[("progress", {"step": i, "total": 100}) for i in range(count)]))


def curve(lease: Lease, values: np.ndarray, first_step: int = 1) -> None:
    """Report a metric `loss`, values [steps, R]."""
    steps = np.arange(first_step, first_step + len(values))
    leases.report(lease, Report(blocks=[Block(("loss",), steps, values[:, None, :])], step=int(steps[-1])))


def trained(
    api: Api, client: httpx2.Client, job: dict[str, Any] | None = None, losses: tuple[float, ...] = (0.5, 0.2)
) -> dict[str, Any]:
    """A job that was submitted, got a checkpoint at its last step, and succeeded."""
    submitted = client.post("/v1/jobs", json=job or JOB)
    assert submitted.status_code == 202, submitted.text
    lease = claim(api)
    checkpoint(lease, lease.total, losses)
    leases.end(lease, "succeeded")
    return client.get(f"/v1/jobs/{lease.job_id}").json()


def problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, after checking what every one promises."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"urn:unroll:problem:{code}"
    assert document["request_id"] == response.headers["x-request-id"]
    return document


def pointers(response: httpx2.Response) -> list[str]:
    """What a validation_failed names."""
    return [error["pointer"] for error in problem(response, 422, "validation_failed")["errors"]]
