"""What a worker does about a job whose input is gone, or damaged, when its child should get it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sqlalchemy import text

from store import checkpoints, jobs, journal, leases
from store.db import Database
from store.leases import Lease, Report
from store.settings import Settings
from tests.integration.store.factories import TENANT, checkpoint, claim, submit, submit_reader
from worker.messages import Assignment
from worker.runner import Attempt


class Child:
    """A trainer child that is told nothing."""

    def __init__(self) -> None:
        self.assigned: list[Assignment] = []

    def assign(self, assignment: Assignment) -> None:
        self.assigned.append(assignment)
        raise AssertionError("it got an input that is not there")

    def log(self) -> str:
        return ""


def reading(db: Database) -> tuple[Lease, str]:
    """A running job that reads a checkpoint, and the job that made it."""
    made_by = submit(db)
    lease = claim(db)
    leases.report(lease, Report(checkpoint=checkpoint(10), step=10))
    leases.end(lease, "succeeded")
    submit_reader(db, checkpoints.list_of_job(db, TENANT, made_by.id).data[0].id)
    return claim(db), made_by.id


def attempt(settings: Settings, lease: Lease, child: object) -> None:
    runner = SimpleNamespace(settings=settings, drain_until=None, draining=False, cores=lambda: 1)
    Attempt(runner, lease, child).run()  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["deleted", "damaged"])
def test_a_running_job_whose_input_is_not_there_any_more_fails_and_says_so(settings: Settings, db: Database, how: str):
    lease, parent = reading(db)
    if how == "deleted":
        jobs.remove(db, TENANT, parent)
    else:
        with db.begin() as tx:
            tx.execute(text("DELETE FROM blob_chunks"))
    child = Child()
    attempt(settings, lease, child)
    assert child.assigned == []
    found = jobs.get(db, TENANT, lease.job_id)
    assert (found.status, found.attempt, found.crashes) == ("failed", 1, 0)
    read = lease.config.checkpoints_read()["/checkpoint"]
    if how == "deleted":
        assert (found.error.code, found.error.message) == ("input_gone", f"The checkpoint {read} was deleted.")
    else:
        assert found.error.code == "bad_checkpoint"
    end = journal.read(db, TENANT, lease.job_id)[0][-1]
    assert (end.type, end.data["error"]["code"]) == ("end", found.error.code)


def test_a_child_gets_what_its_job_reads(settings: Settings, db: Database):
    lease, parent = reading(db)
    child = Child()
    with pytest.raises(AssertionError, match="not there"):
        attempt(settings, lease, child)
    (assignment,) = child.assigned
    (read,) = lease.config.checkpoints_read().values()
    assert assignment.config == lease.config
    assert assignment.inputs.weights == {read: b"weights at 10"}
    assert (assignment.inputs.checkpoints[read].job, assignment.resume, assignment.step) == (parent, None, 0)
