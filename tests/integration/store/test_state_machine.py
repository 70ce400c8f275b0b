"""Random lives of a job, by users, workers, zombies and the reconciler, against a model of a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as examples
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from store import checkpoints, jobs, journal, leases, metrics, recovery
from store.db import Database
from store.errors import InvalidTransition, LeaseLost
from store.leases import Lease
from store.states import EDGES
from store.tables import events
from store.tables import jobs as job_rows
from tests.integration.store.factories import TENANT, expire_lease, submit, train
from unroll.contract import ENDED, JobError

MAX_CRASHES = 3
DIED = JobError(code="crashed", message="The trainer died.")


@dataclass
class Model:
    """What the job should be."""

    status: str = "queued"
    requested: str | None = None
    attempt: int = 0
    crashes: int = 0
    step: int = 0
    saved: int = 0
    """The step of the last checkpoint."""
    ends: int = 0
    history: list[tuple[str, str]] = field(default_factory=list)

    def to(self, status: str) -> None:
        self.history.append((self.status, status))
        self.status = status
        if status in ENDED:
            self.ends += 1
        if status != "running":
            self.requested = None

    def died(self) -> None:
        self.crashes += 1
        if self.requested == "cancel":
            self.to("cancelled")
        elif self.crashes >= MAX_CRASHES:
            self.to("failed")
        elif self.requested == "pause":
            self.to("paused")
        else:
            self.to("queued")


class Life(RuleBasedStateMachine):
    """One job; `lease` is that of the attempt that runs, `zombies` those of earlier ones."""

    db: Database

    @initialize()
    def submitted(self) -> None:
        with self.db.begin() as tx:
            tx.execute(delete(job_rows))  # of the example before this one
        self.id = submit(self.db, steps=10**6).id
        self.model = Model()
        self.lease: Lease | None = None
        self.zombies: list[Lease] = []

    # --- users

    def refuses(self, action: Callable[[Database, str, str], object]) -> None:
        with pytest.raises(InvalidTransition):
            action(self.db, TENANT, self.id)

    @rule()
    def cancel(self) -> None:
        if self.model.status in {"succeeded", "failed"}:
            self.refuses(jobs.cancel)
            return
        answered = jobs.cancel(self.db, TENANT, self.id)
        if self.model.status == "running":
            self.model.requested = "cancel"
        elif self.model.status != "cancelled":
            self.model.to("cancelled")
        assert (answered.status, answered.requested) == (self.model.status, self.model.requested)

    @rule()
    def pause(self) -> None:
        if self.model.status in ENDED or self.model.requested == "cancel":
            self.refuses(jobs.pause)
            return
        jobs.pause(self.db, TENANT, self.id)
        if self.model.status == "running":
            self.model.requested = "pause"
        elif self.model.status == "queued":
            self.model.to("paused")

    @rule()
    def resume(self) -> None:
        if self.model.status in ENDED or self.model.requested == "cancel":
            self.refuses(jobs.resume)
            return
        jobs.resume(self.db, TENANT, self.id)
        self.model.requested = None
        if self.model.status == "paused":
            self.model.to("queued")

    @rule()
    def retry(self) -> None:
        if self.model.status not in {"failed", "cancelled"}:
            self.refuses(jobs.retry)
            return
        jobs.retry(self.db, TENANT, self.id)
        self.model.crashes = 0
        self.model.to("queued")

    # --- workers

    @rule()
    def claim(self) -> None:
        lease = leases.claim(self.db, "w", "cpu", 60.0)
        assert (lease is not None) == (self.model.status == "queued")
        if lease is None:
            return
        self.model.to("running")
        self.model.attempt += 1
        self.model.step = self.model.saved
        self.lease = lease
        assert (lease.job_id, lease.attempt) == (self.id, self.model.attempt)
        assert lease.resumed == (self.model.attempt > 1)
        point = leases.resume_point(lease)
        assert (point.step if point else 0) == self.model.saved

    @precondition(lambda self: self.lease)
    @rule(steps=st.integers(1, 40), saved=st.booleans())
    def report(self, steps: int, *, saved: bool) -> None:
        train(self.lease, self.model.step + 1, self.model.step + steps, checkpointed=saved)
        self.model.step += steps
        if saved:
            self.model.saved = self.model.step
            self.model.crashes = 0

    @precondition(lambda self: self.lease)
    @rule()
    def heartbeat(self) -> None:
        assert leases.report(self.lease, leases.Report()) == self.model.requested

    def gone(self) -> None:
        self.zombies.append(self.lease)
        self.lease = None

    @precondition(lambda self: self.lease)
    @rule(status=st.sampled_from(["succeeded", "failed", "cancelled"]))
    def end(self, status: str) -> None:
        leases.end(self.lease, status, error=DIED if status == "failed" else None)
        self.model.to(status)
        self.gone()

    @precondition(lambda self: self.lease)
    @rule(drained=st.booleans())
    def give_back(self, *, drained: bool) -> None:
        leases.give_back(self.lease, drained=drained)
        self.model.to({"cancel": "cancelled", "pause": "paused", None: "queued"}[self.model.requested])
        self.gone()

    @precondition(lambda self: self.lease)
    @rule()
    def crash(self) -> None:
        leases.crash(self.lease, DIED, MAX_CRASHES)
        self.model.died()
        self.gone()

    @rule(lost=st.booleans())
    def reconcile(self, *, lost: bool) -> None:
        if lost:
            expire_lease(self.db, self.id)
        queued = recovery.expire(self.db, MAX_CRASHES)
        if lost and self.lease:
            self.model.died()
            self.gone()
            assert bool(queued) == (self.model.status == "queued")
        else:
            assert queued == []

    @precondition(lambda self: self.zombies)
    @rule(steps=st.integers(1, 40))
    def zombie_wakes_up(self, steps: int) -> None:
        with pytest.raises(LeaseLost):
            train(self.zombies[-1], self.model.step + 1, self.model.step + steps, checkpointed=True)

    # --- what always holds

    @invariant()
    def the_job_is_as_the_model_says(self) -> None:
        job = jobs.get(self.db, TENANT, self.id)
        assert job.status == self.model.status
        assert job.requested == self.model.requested
        assert job.attempt == self.model.attempt
        assert job.crashes == self.model.crashes
        assert job.progress.step == self.model.step
        assert (job.ended_at is not None) == (job.status in ENDED)
        assert (job.error is not None) == (job.status == "failed")
        assert (job.queue is not None) == (job.status == "queued")
        assert set(self.model.history) <= EDGES

    @invariant()
    def the_journal_has_no_gap_and_one_end_for_each_end_the_last_one_last(self) -> None:
        told, closed = journal.read(self.db, TENANT, self.id, limit=10_000)
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        kinds = [event.type for event in told]
        assert kinds.count("end") == self.model.ends
        assert closed == (kinds[-1] == "end") == (self.model.status in ENDED)
        assert kinds.count("started") == self.model.attempt
        # between two ends the job was retried
        for position, kind in enumerate(kinds[:-1]):
            assert kind != "end" or told[position + 1].data == {"reason": "retried"}
        if closed:
            assert told[-1].data["status"] == self.model.status

    @invariant()
    def the_curve_has_every_step_once(self) -> None:
        found = metrics.read(self.db, TENANT, self.id)
        steps = found.series[0].steps if found.series else []
        assert steps == list(range(1, self.model.step + 1))

    @invariant()
    def the_newest_checkpoints_can_be_resumed_from(self) -> None:
        found = checkpoints.list_of_job(self.db, TENANT, self.id).data
        assert [one.resumable for one in found] == [place < checkpoints.KEPT_STATES for place in range(len(found))]
        assert (found[0].step if found else 0) == self.model.saved

    @invariant()
    def nothing_is_left_of_other_jobs(self) -> None:
        with self.db.read() as tx:
            assert set(tx.execute(select(events.c.job_id)).scalars()) == {self.id}


@pytest.mark.timeout(300)
def test_every_life_of_a_job_follows_the_state_machine(db: Database):
    class OnThisDatabase(Life):
        pass

    OnThisDatabase.db = db
    run_state_machine_as_test(
        OnThisDatabase,
        settings=examples(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=False,
        ),
    )
