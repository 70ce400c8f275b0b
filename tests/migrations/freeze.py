"""Freeze a database of the newest revision, with a row of every kind, as tests/migrations/assets/NNNN.sql.

Run it once for each revision, before the next one is made: python -m tests.migrations.freeze
A frozen database is never written again; later versions must be able to upgrade and read it.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from store import checkpoints, fleet, jobs, keys, leases, models, quotas, schema, sessions
from store.artifacts import NewArtifact
from store.db import Database
from store.leases import Report
from store.settings import Settings
from tests.integration.store.factories import NETWORK, TENANT, block, checkpoint, new, new_job
from unroll.contract import Divergence, Environment, EvaluateJob, JobError, Limits, NewKey, NewModel, Pin, Serving, Stop

ASSETS = Path(__file__).parent / "assets"
SECRET = b"the secret of the frozen databases"


def fill(db: Database) -> str:
    """A model with a pin, a job in every status, jobs that read a checkpoint, artifacts; the secret of a key."""
    key = keys.create(db, SECRET, TENANT, NewKey(name="frozen", scopes=["read", "admin"], max_active_jobs=10))
    models.register(db, TENANT, NewModel(name="integrator", config=NETWORK), 19)
    model_id, _ = models.resolve(db, TENANT, "integrator")

    def submit(name: str, **fields: object) -> jobs.Job:
        job = new_job(model_id=model_id, model_name="integrator", name=name, replicas=2, **fields)
        return jobs.submit(db, TENANT, key.id, job, idempotency=(name, "hash"))[0]

    def run(name: str) -> leases.Lease:
        submit(name, priority=100)
        lease = leases.claim(db, "worker", "cpu", 60.0)
        assert lease is not None
        return lease

    lease = run("succeeded")
    environment = Environment(worker="w", device="cpu", engine="e", torch="2", threads=1, instruction_set="avx2")
    leases.declare(lease, environment)
    diverged = Divergence(replica=1, step=120, loss=None, gradient_norm=2e9).model_dump(mode="json")
    stop = Stop(replica=0, step=150, reason="early_stopping", loss=0.3).model_dump(mode="json")
    for last, losses in ((50, (0.5, None)), (100, (0.25, 0.75)), (150, (0.3, 0.7))):
        said = [("diverged", diverged), ("stopped_replicas", stop)] if last == 150 else []
        saved = checkpoint(last, losses=losses, replicas=2)
        blocks = [block(last - 49, last, replicas=2)]
        leases.report(lease, Report(blocks, checkpoint=saved, step=last, latest={"loss": [0.5, None]}, collected=said))
    leases.report(lease, Report(summary={"stopped": "max_seconds"}))
    leases.end(lease, "succeeded")
    best = checkpoints.list_of_job(db, TENANT, lease.job_id).data[1]
    models.pin(db, TENANT, "integrator", Serving(checkpoint=best.id))
    models.alias(db, TENANT, "integrator", "champion", Pin(checkpoint=best.id, replica=1))
    sessions.create(
        db, TENANT, key.id, "api", model="integrator", checkpoint=best.id, replica=0, sequences=1, ttl=3600.0
    )
    quotas.change_tenant(db, TENANT, 2, Limits(running_jobs=8))

    for name in ("evaluated", "reading"):
        config = EvaluateJob(checkpoint=best.id, name=name, lengths=[20, 40])
        jobs.submit(db, TENANT, key.id, new(config, total=3 * config.sequences, parent=best.job))
        if name == "evaluated":
            evaluating = leases.claim(db, "worker", "cpu", 60.0)
            assert evaluating is not None
            result = NewArtifact("result.json", "application/json", b'{"mean": 0.5}')
            leases.report(evaluating, Report(step=1536, artifacts=[result], summary={"loss": 0.5, "ci95": [0.4, 0.6]}))
            leases.end(evaluating, "succeeded")

    leases.end(run("failed"), "failed", error=JobError(code="out_of_memory", message="Too large.", log="Killed"))
    leases.end(run("cancelled"), "cancelled")
    leases.give_back(run("drained"), drained=True)
    paused = submit("paused", labels={"of": "one's own"})
    jobs.pause(db, TENANT, paused.id)
    jobs.cancel(db, TENANT, jobs.list_(db, TENANT, name="drained").data[0].id)
    lease = run("interrupted")
    leases.report(lease, Report([block(1, 10, replicas=2)], checkpoint=checkpoint(10, replicas=2), step=10))
    leases.report(lease, Report([block(11, 17, replicas=2)], step=17))
    submit("queued", device="cpu", max_seconds=3.5)
    died, lease = lease, run("running")
    leases.crash(died, JobError(code="crashed", message="The trainer died."), 3)
    leases.report(lease, Report([block(1, 5, replicas=2)], step=5, steps_per_second=100.0))
    jobs.pause(db, TENANT, lease.job_id)
    fleet.enlist(db, "worker", "host", 1, "cpu", "0.1.0")
    fleet.seen(db, "worker", lease.job_id)
    return key.secret


def main() -> None:
    """Write the dump of the newest revision, unless there is one."""
    target = ASSETS / f"{schema.revisions()[-1]}.sql"
    if target.exists():
        sys.exit(f"{target} exists, and a frozen database is never written again.")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), database_url="")
        schema.migrate(settings)
        db = Database(settings)
        secret = fill(db)
        db.close()
        with closing(sqlite3.connect(Path(folder) / "unroll.db")) as connection:
            dump = "\n".join(connection.iterdump())
    ASSETS.mkdir(exist_ok=True)
    target.write_text(f"-- key: {secret}\n{dump}\n")


if __name__ == "__main__":
    main()
