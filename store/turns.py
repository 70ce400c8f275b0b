"""Whose turn it is at a worker: tenants take turns by their weights, and within a tenant the best job is next.

The order is worst-case fair weighted fair queueing (Bennett and Zhang, "Hierarchical packet fair queueing algorithms",
SIGCOMM 1996: WF2Q+), with one job as the unit of service. A virtual clock advances by 1 / (sum of the weights of the
tenants with queued jobs) at every claim. A tenant's turn starts at a virtual time and is due 1 / weight later. Among
the turns that have started, the one that is due first is taken, and the tenant's next turn starts where that one was
due. So each tenant that always has queued jobs gets its share of the claims to within one job, and one that was away
has nothing saved and nothing lost.

Turns alone would let jobs that run for days take one worker after another, since others' short jobs use up their turns
quickly. So a tenant that already has its share of the busy workers lets the others go first (docs/adr/0015).

Each device has turns of its own. A claim locks the clocks, so that claims see each other's turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, CompoundSelect, Connection, Row, ScalarSelect, func, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite

from store.tables import QUEUED, RUNNING, clocks, jobs, keys, tenants

Order = Literal["turns", "plain"]
ROUNDING = 1e-9
DIGITS = 9
"""Digits of virtual time within which two turns are due at once."""


@dataclass(frozen=True)
class Waiting:
    """A tenant with a job that could run."""

    tenant: str
    job_id: str
    """Its best job."""
    queued_at: float
    weight: int
    running: int
    """Number of its jobs that run, on any device."""


@dataclass(frozen=True)
class Turn:
    """A job that is next, and the clock after it was claimed."""

    job_id: str
    now: float
    """The virtual time."""
    starts: Mapping[str, float]
    """When the next turn of each tenant starts, in virtual time. Tenants that neither wait nor are ahead of the clock
    are left out."""


def following(
    tx: Connection, device: Literal["cpu", "cuda"], order: Order, passed: Collection[str] = ()
) -> Turn | None:
    """Return whose turn it is at a worker of this device, except the jobs in `passed`; None if nothing can run.

    Jobs of tenants and keys that run as many jobs as they may are left out. With plain order, priority and age decide
    among the jobs of all tenants.
    """
    running, full_keys = _running(tx)
    best: dict[str, Row[Any]] = {}
    for row in tx.execute(_best_of_each(device, full_keys, passed)):
        limit = (row.limits or {}).get("running_jobs")
        if limit is not None and running[row.tenant] >= limit:
            continue
        if row.tenant not in best or _place(row) < _place(best[row.tenant]):
            best[row.tenant] = row
    if not best:
        return None
    if order == "plain":
        return Turn(min(best.values(), key=_place).id, 0.0, {})
    waiting = [
        Waiting(row.tenant, row.id, row.queued_at, row.weight or 1, running[row.tenant]) for row in best.values()
    ]
    clock = tx.execute(select(clocks).where(clocks.c.device == device)).one_or_none()
    return whose(waiting, 0.0, {}) if clock is None else whose(waiting, clock.now, clock.starts)


def whose(waiting: Sequence[Waiting], now: float, before: Mapping[str, float]) -> Turn:
    """Return whose turn it is among the tenants that wait, by a clock and the starts that an earlier turn left."""
    starts = {one.tenant: before.get(one.tenant, now) for one in waiting}
    now = max(now, min(starts.values()))
    total, busy = sum(one.weight for one in waiting), sum(one.running for one in waiting) + 1

    def rank(one: Waiting) -> tuple[bool, bool, float, bool, float, str]:
        has_its_share = one.running * total >= busy * one.weight
        early = starts[one.tenant] > now + ROUNDING * max(1.0, now)
        due = round(starts[one.tenant] + 1 / one.weight, DIGITS)
        return has_its_share, early, due, one.tenant in before, one.queued_at, one.tenant

    first = min(waiting, key=rank)
    starts[first.tenant] += 1 / first.weight
    now += 1 / total
    return Turn(first.job_id, now, {tenant: at for tenant, at in before.items() if at > now} | starts)


def lock(tx: Connection) -> None:
    """Let this transaction alone choose turns until it ends."""
    insert = (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(clocks)
    rows = insert.values([{"device": device, "now": 0.0, "starts": {}} for device in ("cpu", "cuda")])
    # DO UPDATE, not DO NOTHING: it locks the rows
    tx.execute(rows.on_conflict_do_update(index_elements=["device"], set_={"now": clocks.c.now}))


def take(tx: Connection, turn: Turn, device: Literal["cpu", "cuda"]) -> None:
    """Record that the turn was taken."""
    tx.execute(update(clocks).where(clocks.c.device == device).values(now=turn.now, starts=dict(turn.starts)))


def _place(row: Row[Any]) -> tuple[int, float, str]:
    """Return what a job is ordered by, among those of its tenant or in plain order."""
    return -row.priority, row.queued_at, row.id


def _running(tx: Connection) -> tuple[Counter[str], list[str]]:
    """Return how many jobs each tenant runs, and the keys that run as many as they may."""
    by_tenant: Counter[str] = Counter()
    full = []
    counted = (
        select(jobs.c.tenant, jobs.c.key_id, func.count().label("jobs"))
        .where(RUNNING)
        .group_by(jobs.c.tenant, jobs.c.key_id)
        .subquery()
    )
    query = select(counted, keys.c.limits).outerjoin(keys, keys.c.id == counted.c.key_id)
    for row in tx.execute(query):
        by_tenant[row.tenant] += row.jobs
        limit = (row.limits or {}).get("running_jobs")
        if limit is not None and row.jobs >= limit:
            full.append(row.key_id)
    return by_tenant, full


def _best_of_each(
    device: Literal["cpu", "cuda"], full_keys: Collection[str], passed: Collection[str]
) -> CompoundSelect[Any]:
    """Select the best job of each tenant among those for any device, and among those for this one.

    The index gives the best job of the next tenant without a look at the jobs between. So the cost depends on the
    number of tenants that wait, not on that of their jobs.
    """
    return union_all(*(_best_for(wanted, full_keys, passed) for wanted in ("auto", device)))


def _best_for(wanted: str, full_keys: Collection[str], passed: Collection[str]) -> Any:
    def first(*where: ColumnElement[bool]) -> ScalarSelect[Any]:
        # by the whole index, not only by tenant: no other index could give this order, whatever the statistics say
        in_order = (jobs.c.tenant, jobs.c.priority.desc(), jobs.c.queued_at, jobs.c.id)
        query = select(jobs.c.id).where(QUEUED, jobs.c.device == wanted, *where)
        if full_keys:
            query = query.where(jobs.c.key_id.not_in(full_keys))
        if passed:
            query = query.where(jobs.c.id.not_in(passed))
        return query.order_by(*in_order).limit(1).correlate_except(jobs).scalar_subquery()

    best = select(first().label("id")).cte(f"best_{wanted}", recursive=True)
    last, chosen = jobs.alias(), jobs.alias()
    after = select(first(jobs.c.tenant > last.c.tenant)).select_from(best.join(last, last.c.id == best.c.id))
    best = best.union_all(after)
    return (
        select(chosen.c.id, chosen.c.tenant, chosen.c.priority, chosen.c.queued_at, tenants.c.weight, tenants.c.limits)
        .select_from(best)
        .join(chosen, chosen.c.id == best.c.id)
        .outerjoin(tenants, tenants.c.tenant == chosen.c.tenant)
    )
