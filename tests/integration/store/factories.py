"""Small but whole things to store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, Literal, TypeVar

import numpy as np
from sqlalchemy import text

from store import inputs, jobs, leases, recovery, turns
from store.checkpoints import NewCheckpoint
from store.db import Database
from store.inputs import CheckpointRead
from store.jobs import NewJob
from store.leases import Lease, Report
from store.metrics import Block
from unroll.contract import MSE, EvaluateJob, Job, JobRequest, Network, TaskData, Training, TrainJob, VanillaCell

TENANT = "lab"
KEY = "key_of_the_lab"
NETWORK = Network(cell=VanillaCell(hidden_size=3), input_size=1, output_size=1)
DATA = TaskData(name="integrate_noise")
NAMES = ("loss", "gradient_norm")
FACTS = {"parameters": 19, "baseline_loss": 1.5}


def train_job(*, steps: int = 1000, network: Network = NETWORK, **fields: Any) -> TrainJob:
    return TrainJob(model=network, data=DATA, training=Training(steps=steps), **fields)


def new(config: JobRequest, *, total: int, driver: str = "trainer", **about: Any) -> NewJob:
    return NewJob(config, driver, total, FACTS | {"total": total}, **about)


def new_job(
    *,
    model_id: str | None = None,
    model_name: str | None = None,
    parent: str | None = None,
    driver: str = "trainer",
    **fields: Any,
) -> NewJob:
    config = train_job(**fields)
    total = config.training.steps
    return new(config, total=total, driver=driver, model_id=model_id, model_name=model_name, parent=parent)


def submit(db: Database, tenant: str = TENANT, **fields: Any) -> Job:
    job, created = jobs.submit(db, tenant, KEY, new_job(**fields))
    assert created
    return job


def submit_reader(
    db: Database, checkpoint_id: str, tenant: str = TENANT, *, parent: str | None = None, **fields: Any
) -> Job:
    """A queued job that reads a checkpoint."""
    config = EvaluateJob(checkpoint=checkpoint_id, **fields)
    return jobs.submit(db, tenant, KEY, new(config, total=config.sequences, parent=parent))[0]


def load_inputs(db: Database, tenant: str, job_id: str) -> dict[str, CheckpointRead]:
    """What a job reads."""
    with db.read() as tx:
        return inputs.load(tx, tenant, job_id)


def claim(
    db: Database,
    worker: str = "w1",
    *,
    device: Literal["cpu", "cuda"] = "cpu",
    seconds: float = 60.0,
    order: turns.Order = "turns",
) -> Lease:
    lease = leases.claim(db, worker, device, seconds, order)
    assert lease is not None
    return lease


def checkpoint(
    step: int,
    *,
    weights: bytes | None = None,
    state: bytes | None = None,
    losses: tuple[float | None, ...] | None = None,
    replicas: int = 1,
    keep: int | None = 20,
) -> NewCheckpoint:
    rated = [(loss, replica) for replica, loss in enumerate(losses or ()) if loss is not None]
    return NewCheckpoint(
        step=step,
        reason="periodic",
        weights=b"weights at %d" % step if weights is None else weights,
        state=b"state at %d" % step if state is None else state,
        losses=losses,
        best_replica=min(rated)[1] if rated else None,
        replicas=replicas,
        network=NETWORK,
        dtype="float32",
        data=DATA,
        loss=MSE(),
        keep=keep,
    )


def block(first: int, last: int, *, replicas: int = 1) -> Block:
    """Steps first to last; the value of a metric is recognisable: 1000 * replica + step, negative for the second."""
    steps = np.arange(first, last + 1, dtype=np.int64)
    values = steps[:, None, None] + 1000.0 * np.arange(replicas)[None, None, :]
    return Block(NAMES, steps, np.concatenate([values, -values], axis=1))


def train(lease: Lease, first: int, last: int, *, checkpointed: bool = False) -> None:
    """What a trainer's steps from first to last leave behind."""
    saved = checkpoint(last) if checkpointed else None
    leases.report(lease, Report(blocks=[block(first, last)], checkpoint=saved, step=last, latest={"loss": [0.5]}))


def expire_lease(db: Database, job_id: str) -> None:
    """Let the lease have run out a second ago."""
    with db.begin() as tx:
        tx.execute(text("UPDATE jobs SET lease_expires = 1 WHERE id = :id AND status = 'running'"), {"id": job_id})


def take_over(db: Database, zombie: Lease) -> Lease:
    """The zombie's lease runs out and another worker claims its job."""
    expire_lease(db, zombie.job_id)
    assert [waiting.job_id for waiting in recovery.expire(db, max_crashes=99)] == [zombie.job_id]
    lease = claim(db, "the other worker")
    assert lease.job_id == zombie.job_id
    return lease


def count(db: Database, table: str) -> int:
    with db.read() as tx:
        return tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


Answer = TypeVar("Answer")


def at_once(calls: Iterable[Callable[[], Answer]]) -> list[Answer | Exception]:
    """Call all at the same moment, each in its own thread; what each answered or raised, in order."""
    calls = list(calls)
    together = Barrier(len(calls))

    def one(call: Callable[[], Answer]) -> Answer | Exception:
        together.wait(30)
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - it is the answer
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(one, calls))
