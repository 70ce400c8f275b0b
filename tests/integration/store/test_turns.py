"""Whose turn it is: shares of tenants, whatever they ask for, and order within each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text

from store import jobs, keys, leases, quotas, turns
from store.db import Database
from store.leases import Lease
from store.tables import clocks
from store.tables import jobs as rows
from tests.integration.store.factories import TENANT, at_once, claim, new_job, submit
from unroll.contract import Limits, NewKey


def end(lease: Lease) -> None:
    leases.end(lease, "succeeded")


def fill(db: Database, wanted: list[tuple[str, int]], *, device: str = "cpu") -> None:
    """Queue jobs, (tenant, priority) each, in this order of age; faster than to submit them."""
    submit(db, "pattern")
    with db.begin() as tx:
        pattern = dict(tx.execute(select(rows).where(rows.c.tenant == "pattern")).mappings().one())
        tx.execute(delete(rows))
        many = [
            pattern
            | {"id": f"job_{number:020d}", "tenant": tenant, "priority": priority, "device": device}
            | {"key_id": f"key of {tenant}", "queued_at": 1e9 + number}
            for number, (tenant, priority) in enumerate(wanted)
        ]
        tx.execute(insert(rows), many)


def start_again(db: Database) -> None:
    with db.begin() as tx:
        tx.execute(delete(rows))
        tx.execute(delete(clocks))


def test_tenants_share_by_weight_and_each_gives_its_best_job_first(db: Database):
    """Whatever the jobs of a tenant are: tests/unit/store/test_turns.py has the shares of any tenants."""
    weights = {"a": 5, "b": 2, "c": 1}
    for name, weight in weights.items():
        quotas.change_tenant(db, name, weight, Limits())
    chance = random.Random(0)
    wanted = [(name, chance.choice([-100, 0, 5, 100])) for name in ("a", "b", "c") * 24]
    fill(db, wanted)
    order = []
    for number in range(1, 25):
        lease = claim(db)
        order.append((lease.tenant, lease.job_id))
        end(lease)
        for name, weight in weights.items():
            taken = sum(tenant == name for tenant, _ in order)
            assert abs(taken - Fraction(number * weight, 8)) <= 1
    for name in weights:
        best_first = [job for job, _, _ in sorted(_of(wanted, name), key=lambda one: (-one[1], one[2]))]
        of_tenant = [job for tenant, job in order if tenant == name]
        assert of_tenant == best_first[: len(of_tenant)]


def _of(wanted: list[tuple[str, int]], name: str) -> list[tuple[str, int, int]]:
    return [
        (f"job_{number:020d}", priority, number) for number, (tenant, priority) in enumerate(wanted) if tenant == name
    ]


def test_a_crowd_of_urgent_jobs_does_not_keep_another_tenant_waiting(db: Database):
    fill(db, [("greedy", 100)] * 31 + [("modest", -100)])
    first = claim(db)
    end(first)
    second = claim(db)
    assert {first.tenant, second.tenant} == {"greedy", "modest"}


def test_long_jobs_do_not_take_one_worker_after_another(db: Database):
    fill(db, [("long", 100)] * 31 + [("short", 0)] * 30)
    held = [claim(db, "w0")]
    other = claim(db, "w1")
    assert {held[0].tenant, other.tenant} == {"long", "short"}
    short = other if other.tenant == "short" else held[0]
    for _ in range(20):  # the long one still runs, and its tenant's turns have long come
        end(short)
        short = claim(db, "w1")
        assert short.tenant == "short"


def test_who_comes_later_gets_its_share_and_nothing_for_the_time_before(db: Database):
    fill(db, [("early", 0)] * 60)
    for _ in range(30):
        end(claim(db))
    for _ in range(30):
        submit(db, "late")
    taken = []
    for _ in range(20):
        lease = claim(db)
        taken.append(lease.tenant)
        end(lease)
    assert taken[0] == "late"
    assert abs(taken.count("late") - 10) <= 2


def test_each_device_has_turns_of_its_own(db: Database):
    fill(db, [("a", 0)] * 20 + [("b", 0)] * 20, device="cuda")
    for _ in range(6):
        submit(db, "a", device="cpu")
    for _ in range(6):
        assert claim(db, device="cpu").tenant == "a"
    with db.begin() as tx:  # none of these runs any more
        tx.execute(text("UPDATE jobs SET status = 'succeeded', ended_at = 1 WHERE status = 'running'"))
    taken = []
    for _ in range(10):
        lease = claim(db, device="cuda")
        taken.append(lease.tenant)
        end(lease)
    assert taken.count("a") == taken.count("b") == 5


def test_in_plain_order_priority_and_age_decide_among_all(db: Database):
    fill(db, [("a", 0), ("a", 5), ("b", 0), ("a", 7), ("b", 6)])
    taken = [leases.claim(db, "w", "cpu", 60.0, "plain") for _ in range(5)]
    assert [int(lease.job_id[-2:]) for lease in taken if lease] == [3, 4, 1, 0, 2]


@pytest.mark.parametrize("order", ["turns", "plain"])
def test_who_runs_as_many_as_it_may_waits_and_others_go_on(db: Database, order: str):
    limited = keys.create(db, b"s", TENANT, NewKey(name="k", limits=Limits(running_jobs=1))).id
    free = keys.create(db, b"s", TENANT, NewKey(name="k")).id
    for _ in range(2):
        jobs.submit(db, TENANT, limited, new_job(priority=9))
    of_free = jobs.submit(db, TENANT, free, new_job())[0].id
    quotas.change_tenant(db, "other", None, Limits(running_jobs=2))
    for _ in range(3):
        submit(db, "other", priority=50)

    def take() -> Lease | None:
        return leases.claim(db, "w", "cpu", 60.0, order)  # type: ignore[arg-type]

    got = [take() for _ in range(5)]
    assert got[4] is None
    tenants = Counter(lease.tenant for lease in got if lease)
    assert tenants == {TENANT: 2, "other": 2}
    assert of_free in {lease.job_id for lease in got if lease}
    ended = next(lease for lease in got if lease and lease.tenant == TENANT and lease.job_id != of_free)
    end(ended)
    again = take()
    assert again is not None
    assert again.tenant == TENANT


def test_many_workers_at_once_share_and_keep_the_limits(db: Database):
    quotas.change_tenant(db, "a", 3, Limits())
    quotas.change_tenant(db, "limited", 1, Limits(running_jobs=2))
    fill(db, [("a", 0)] * 12 + [("b", 100)] * 12 + [("limited", 50)] * 12)
    calls: list[Callable[[], Lease | None]] = [lambda n=n: leases.claim(db, f"w{n}", "cpu", 60.0) for n in range(8)]
    taken = Counter(lease.tenant for lease in at_once(calls) if isinstance(lease, Lease))
    assert taken["limited"] <= 2
    assert taken.total() == 8
    assert taken["a"] in {4, 5, 6}


def test_a_claim_does_not_look_at_every_queued_job(db: Database):
    fill(db, [("many", 0)] * 20 + [("few", 0)] * 2)
    few = _visits(db)
    start_again(db)
    fill(db, [("many", 0)] * 3000 + [("few", 0)] * 2)
    assert _visits(db) < 2 * few


def _visits(db: Database) -> int:
    """How much a choice looks at: rows in PostgreSQL, instructions in SQLite, as the databases count them."""
    if db.dialect == "sqlite":
        with db.read() as tx:
            connection = tx.connection.dbapi_connection
            count = 0

            def tick() -> int:
                nonlocal count
                count += 1
                return 0

            connection.set_progress_handler(tick, 1)
            turns.following(tx, "cpu", "turns")
            connection.set_progress_handler(None, 1)
            return count

    def rows_of(node: dict[str, Any]) -> int:
        seen = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return round(seen) + sum(map(rows_of, node.get("Plans", [])))

    with db.begin() as tx:
        tx.execute(text("ANALYZE jobs"))
        tx.execute(text("SET LOCAL enable_seqscan = off"))  # a small table is rightly read whole
        query = turns._best_of_each("cpu", [], []).compile(tx, compile_kwargs={"literal_binds": True})
        [plan] = tx.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")).scalar_one()
        return rows_of(plan["Plan"])
