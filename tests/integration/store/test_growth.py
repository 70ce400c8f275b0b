"""What the store does for a request does not grow with the jobs that have ended, nor with those that wait.

The work is counted, not timed: instructions of SQLite's virtual machine, rows and index entries that PostgreSQL reads.
A statement that goes through a table, or through all jobs of a tenant, a model or a name, does ten times as much among
ten times as many.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psycopg
import pytest
from sqlalchemy import event, text

import store
from store import (
    artifacts,
    blobs,
    checkpoints,
    finding,
    fleet,
    inputs,
    jobs,
    journal,
    keys,
    leases,
    line,
    metrics,
    models,
    quotas,
    recovery,
    sessions,
)
from store.artifacts import NewArtifact
from store.db import Database
from store.keys import Identity
from store.leases import Report
from tests.integration.store.factories import NETWORK, TENANT, block, checkpoint, claim, load_inputs, new, new_job
from tests.servers.crowd import analyze, multiply
from unroll.contract import ChangeKey, Environment, EvaluateJob, JobError, Limits, NewKey, NewModel, Pin, Serving

FEW, MANY = 300, 3000
"""Numbers of ended jobs, and of waiting jobs, between which the work is compared."""
MARGIN = 60
"""Work that may be added, as single rows more are read."""
INSTRUCTIONS = 10
"""Instructions of SQLite that are counted as one."""
SECRET = b"s"
Answer = TypeVar("Answer")


class Of(Protocol):
    """Calls something, and notes under a name how much work it was."""

    def __call__(self, name: str, call: Callable[[], Answer]) -> Answer: ...


class Work:
    """Counts what the database does."""

    def __init__(self, db: Database) -> None:
        self._db, self._steps = db, 0
        self.done: dict[str, int] = {}
        if db.dialect == "sqlite":
            db.engine.dispose()
            event.listen(db.engine, "connect", self._watch)
        else:
            self._observer = psycopg.connect(db.engine.url.set(drivername="postgresql").render_as_string(False))
            self._observer.autocommit = True

    def _watch(self, connection: Any, _record: object) -> None:
        def tick() -> None:
            self._steps += 1

        connection.set_progress_handler(tick, INSTRUCTIONS)

    def of(self, name: str, call: Callable[[], Answer]) -> Answer:
        """Call, and note how much work it was."""
        before = self._total()
        answer = call()
        self.done[name] = self._total() - before
        return answer

    def _total(self) -> int:
        if self._db.dialect == "sqlite":
            return self._steps
        with self._db.begin() as tx:  # the same session: what it has counted is known to others when it ends
            tx.execute(text("SELECT pg_stat_force_next_flush()"))
        return int(self._observer.execute(READ).fetchone()[0])

    def close(self) -> None:
        if self._db.dialect == "postgresql":
            self._observer.close()


READ = """
SELECT (SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables)
     + (SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes)
"""


Crowded = Callable[[int, int], dict[str, int]]


@pytest.fixture
def crowded(db: Database, monkeypatch: pytest.MonkeyPatch) -> Crowded:
    """A function that lets so many jobs have ended and so many wait, and returns the work of each thing to do."""
    # what is bounded is at its bounds already with few jobs
    for module, name in ((finding, "EXAMINED"), (line, "COUNTED"), (blobs, "SWEPT")):
        monkeypatch.setattr(module, name, FEW // 3)
    models.register(db, TENANT, NewModel(name="m", config=NETWORK), 19)
    model_id, _ = models.resolve(db, TENANT, "m")
    key_id = keys.create(db, SECRET, TENANT, NewKey(name="k", max_active_jobs=1_000_000)).id
    parent = jobs.submit(db, TENANT, key_id, new_job())[0].id
    leases.end(claim(db), "succeeded")
    alike: dict[str, Any] = {"model_id": model_id, "model_name": "m", "labels": {"l": "same"}, "name": "same"}
    ended = jobs.submit(db, TENANT, key_id, new_job(**alike, parent=parent))[0].id
    lease = claim(db)
    made = [NewArtifact("a.txt", "text/plain", b"a")]
    leases.report(lease, Report([block(1, 10)], checkpoint=checkpoint(10, losses=(0.1,)), step=10, artifacts=made))
    leases.end(lease, "succeeded")
    waiting = jobs.submit(db, TENANT, key_id, new_job(device="cpu"))[0].id
    there = [0, 0]

    def work(ended_size: int, waiting_size: int) -> dict[str, int]:
        more = ended_size - there[0], waiting_size - there[1]
        # not in the last hour, of which each is counted
        multiply(db, ended, there[0], more[0], ended_at="ended_at - 10000 - i", queued_at="queued_at - i")
        multiply(db, waiting, MANY + there[1], more[1], queued_at="queued_at - i")
        elsewhere = {"tenant": "'elsewhere'", "device": "'cuda'", "priority": "9"}
        multiply(db, waiting, 2 * MANY + there[1], more[1], **elsewhere)
        analyze(db)
        there[:] = ended_size, waiting_size
        with closing(Work(db)) as counted:
            counted.of("keys.me, of many jobs", lambda: keys.me(db, Identity(key_id, TENANT, frozenset())))
            quota = counted.of("jobs.submit, of many jobs", lambda: jobs.submit(db, TENANT, key_id, new_job()))
            jobs.cancel(db, TENANT, quota[0].id)
            do_everything(db, counted.of, model_id, parent, waiting)
        return counted.done

    return work


def do_everything(db: Database, of: Of, model_id: str, parent: str, waiting: str) -> None:
    """Call every function of the store, each under its name."""
    key = of("keys.create", lambda: keys.create(db, SECRET, TENANT, NewKey(name="k", max_active_jobs=9)))
    identity = of("keys.authenticate", lambda: keys.authenticate(db, SECRET, key.secret))
    of("keys.able", lambda: keys.able(db, [key.id], "read"))
    of("keys.get", lambda: keys.get(db, TENANT, key.id))
    of("keys.list_", lambda: keys.list_(db, TENANT))
    of("keys.change", lambda: keys.change(db, TENANT, key.id, ChangeKey(name="other")))
    train = new_job(model_id=model_id, model_name="m", priority=99, name="mine", labels={"l": "mine"})
    once = (key.id, jobs.body_hash(train.config))
    job, _ = of("jobs.submit", lambda: jobs.submit(db, TENANT, key.id, train, idempotency=once))
    of("jobs.submit again", lambda: jobs.submit(db, TENANT, key.id, train, idempotency=once))
    of("jobs.submitted", lambda: jobs.submitted(db, TENANT, once))
    of("keys.me", lambda: keys.me(db, identity))
    of("jobs.get", lambda: jobs.get(db, TENANT, job.id))
    of("jobs.get far behind", lambda: jobs.get(db, TENANT, waiting))
    of("jobs.pause", lambda: jobs.pause(db, TENANT, job.id))
    of("jobs.resume", lambda: jobs.resume(db, TENANT, job.id))
    of("jobs.cancel", lambda: jobs.cancel(db, TENANT, job.id))
    of("jobs.retry", lambda: jobs.retry(db, TENANT, job.id))
    for filters in [*LISTS, {"parent": parent}, {"parent": parent, "status": ["failed"]}]:
        of(f"jobs.list_ {filters}", lambda filters=filters: jobs.list_(db, TENANT, **filters))
    run(db, of)
    look(db, of, job.id, key.id)
    of("recovery.expire", lambda: recovery.expire(db, 3))
    of("recovery.take_back", lambda: recovery.take_back(db, "nobody", "killed", 3))
    of("quotas.change_tenant", lambda: quotas.change_tenant(db, TENANT, 1, Limits()))
    of("quotas.list_tenants", lambda: quotas.list_tenants(db))
    of("recovery.unheard", lambda: recovery.unheard(db, 1.0))
    of("blobs.sweep", lambda: blobs.sweep(db))
    of("jobs.remove", lambda: jobs.remove(db, TENANT, job.id))
    of("keys.remove", lambda: keys.remove(db, TENANT, key.id))


def run(db: Database, of: Of) -> None:
    """Run the job that is first in the line, with interruptions."""
    lease = of("leases.claim", lambda: claim(db))
    environment = Environment(worker="w", device="cpu", engine="e", torch="2", threads=1, instruction_set="avx2")
    of("leases.declare", lambda: leases.declare(lease, environment))
    of("leases.resume_point", lambda: leases.resume_point(lease))
    for step in (10, 20, 30):
        made = [NewArtifact("a.txt", "text/plain", b"%d" % step)]
        saved = checkpoint(step, losses=(1 / step,), keep=1)
        report = Report([block(step - 9, step)], checkpoint=saved, step=step, artifacts=made)
        of(f"leases.report {step}", lambda report=report: leases.report(lease, report))
    of("leases.report again", lambda: leases.report(lease, report, again=True))
    of("leases.give_back", lambda: leases.give_back(lease, drained=True))
    crashing = of("leases.claim again", lambda: claim(db))
    of("leases.crash", lambda: leases.crash(crashing, JobError(code="crashed", message="It died."), 3))
    last = claim(db)
    of("leases.end", lambda: leases.end(last, "succeeded"))


def live(db: Database, of: Of, checkpoint_id: str, key_id: str) -> None:
    """Have a live session."""

    def create() -> sessions.Owned:
        about: dict[str, Any] = {"checkpoint": checkpoint_id, "replica": 0, "sequences": 1, "ttl": 60.0}
        return sessions.create(db, TENANT, key_id, "api", model="n", correlation=("n", "mine"), **about)

    owned = of("sessions.create", create)
    mine = owned.saved.id
    of("sessions.get", lambda: sessions.get(db, TENANT, mine))
    of("sessions.list_", lambda: sessions.list_(db, TENANT))
    of("sessions.look", lambda: sessions.look(db, TENANT, mine))
    of("sessions.named", lambda: sessions.named(db, TENANT, "n", "mine"))
    of("sessions.save", lambda: sessions.save(db, [owned.saved]))
    of("sessions.take", lambda: sessions.take(db, TENANT, mine, "other"))
    of("sessions.remove", lambda: sessions.remove(db, TENANT, mine))
    of("sessions.forget_expired", lambda: sessions.forget_expired(db))


def look(db: Database, of: Of, job_id: str, key_id: str) -> None:
    """Look at everything that a job has made, and at the fleet."""
    found = of("checkpoints.list_of_job", lambda: checkpoints.list_of_job(db, TENANT, job_id)).data[0]
    of("checkpoints.get", lambda: checkpoints.get(db, TENANT, found.id))
    of("checkpoints.content", lambda: checkpoints.content(db, TENANT, found.id))
    config = EvaluateJob(checkpoint=found.id, priority=100)
    of("inputs.find", lambda: inputs.find(db, TENANT, config.checkpoints_read()))
    reader, _ = jobs.submit(db, TENANT, key_id, new(config, total=1, parent=job_id))
    reading = claim(db)
    assert reading.job_id == reader.id
    load_inputs(db, TENANT, reader.id)
    leases.end(reading, "succeeded")
    made = of("artifacts.list_of_job", lambda: artifacts.list_of_job(db, TENANT, job_id))[0]
    of("artifacts.get", lambda: artifacts.get(db, TENANT, job_id, made.name))
    of("artifacts.content", lambda: artifacts.content(db, TENANT, job_id, made.name, made.sha256))
    of("journal.read", lambda: journal.read(db, TENANT, job_id))
    of("journal.head", lambda: journal.head(db, TENANT, job_id))
    of("journal.heads", lambda: journal.heads(db, [job_id]))
    of("journal.entries", lambda: journal.entries(db, job_id, after=0, limit=10))
    of("metrics.read", lambda: metrics.read(db, TENANT, job_id, max_points=4))
    of("metrics.stream", lambda: list(metrics.stream(db, TENANT, job_id, from_step=5)))
    of("models.register", lambda: models.register(db, TENANT, NewModel(name="n", config=NETWORK), 19))
    of("models.resolve", lambda: models.resolve(db, TENANT, "m"))
    of("models.get", lambda: models.get(db, TENANT, "m"))
    of("models.list_", lambda: models.list_(db, TENANT))
    of("models.served", lambda: models.served(db, TENANT, "m"))
    of("models.pin", lambda: models.pin(db, TENANT, "n", Serving(checkpoint=found.id)))
    of("models.alias", lambda: models.alias(db, TENANT, "n", "a", Pin(checkpoint=found.id)))
    of("models.unalias", lambda: models.unalias(db, TENANT, "n", "a"))
    of("models.unpin", lambda: models.unpin(db, TENANT, "n"))
    of("models.undo", lambda: models.undo(db, TENANT, "n"))
    of("models.remove", lambda: models.remove(db, TENANT, "n"))
    live(db, of, found.id, key_id)
    of("fleet.enlist", lambda: fleet.enlist(db, "w", "host", 1, "cpu", "0.1"))
    of("fleet.seen", lambda: fleet.seen(db, "w", job_id))
    of("fleet.list_workers", lambda: fleet.list_workers(db, TENANT, 45.0))
    of("fleet.count_beside", lambda: fleet.count_beside(db, "w", "host", 45.0))
    of("fleet.count_alive", lambda: fleet.count_alive(db, 45.0))
    of("fleet.count_jobs", lambda: fleet.count_jobs(db))
    of("fleet.count_ended", lambda: fleet.count_ended(db, 3600.0))
    of("fleet.list_queues", lambda: fleet.list_queues(db, 45.0))
    of("fleet.dismiss", lambda: fleet.dismiss(db, "w"))


LISTS: list[dict[str, Any]] = [
    {},
    {"status": ["succeeded"]},
    {"status": ["paused"]},
    {"status": ["failed", "queued", "cancelled"]},
    {"name": "same"},
    {"name": "none"},
    {"model": "m"},
    {"model": "none"},
    {"kind": "train"},
    {"kind": "export"},
    {"labels": {"l": "same"}},
    {"labels": {"l": "none"}},
    {"labels": {"l": "same"}, "status": ["failed"]},
    {"labels": {"l": "same"}, "name": "mine"},
    {"name": "same", "status": ["failed"]},
    {"kind": "train", "status": ["failed", "succeeded"]},
    {"kind": "export", "status": ["succeeded"]},
]


COUNT_WHAT_WAITS = {
    *("fleet.list_queues", "fleet.count_jobs", "keys.me", "keys.me, of many jobs", "jobs.submit, of many jobs"),
}
"""They read an index entry for each job that waits (of a tenant at most 10,000), and none for those that have ended."""
OTHERS = {
    *("blobs.collect_garbage", "pruning.prune", "backup.write", "backup.restore"),
    *("leases.fenced", "schema.check"),
}
"""They go through everything, are part of others, or look at no job."""


def test_nothing_costs_more_the_more_jobs_have_ended_and_the_more_wait(crowded: Crowded):
    few, ended, both = crowded(FEW, FEW), crowded(MANY, FEW), crowded(MANY, MANY)
    assert {re.split("[ ,]", name)[0] for name in few} == functions_of_the_store() - OTHERS
    assert grown(few, ended) == {}
    assert {name: work for name, work in grown(ended, both).items() if name not in COUNT_WHAT_WAITS} == {}


def grown(few: dict[str, int], many: dict[str, int]) -> dict[str, tuple[int, int]]:
    return {name: (few[name], many[name]) for name in few if many[name] > 2 * few[name] + MARGIN}


def functions_of_the_store() -> set[str]:
    """Everything public that takes a database or a lease."""
    found = set()
    for path in Path(store.__path__[0]).glob("*.py"):
        module = import_module(f"store.{path.stem}")
        for name, one in inspect.getmembers(module, inspect.isfunction):
            parameters = list(inspect.signature(one).parameters.values())
            own = one.__module__ == module.__name__ and not name.startswith("_")
            if own and parameters and parameters[0].annotation in {"Database", "Lease"}:
                found.add(f"{path.stem}.{name}")
    return found
