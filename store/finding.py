"""Finds jobs by filters, newest first, at a cost that grows neither with the number of jobs nor with that of matches.

One filter leads. It has an index whose order is that of the list, so the newest jobs that match it are read and no
others. Where there are further filters, at most EXAMINED jobs are compared with them. A page that finds too few among
these ends there, and the next one goes on behind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, CompoundSelect, Connection, Row, Select, select, true, tuple_, union_all

from store.states import ACTIVE
from store.tables import job_labels, jobs
from unroll.contract import JobStatus

LAST = "job_" + 27 * "z"
"""An id above all ids of jobs."""
EXAMINED = 1000
"""Number of jobs that a page looks at if it has several filters."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a tenant's jobs; None and empty filters match all of them."""

    tenant: str
    status: Sequence[JobStatus]
    labels: Mapping[str, str]
    kind: str | None = None
    model: str | None = None
    parent: str | None = None
    name: str | None = None


def newest(tx: Connection, wanted: Wanted, before: str | None, limit: int) -> tuple[Sequence[Row[Any]], str | None]:
    """Return at most `limit` matching rows with ids below `before`, newest first, and the id at which they end.

    The id is None if there are no more.
    """
    (leads, _), *others = _by_rarity(wanted)
    count = EXAMINED if others else limit + 1
    ids = tx.execute(_merged([_newest(lead, before, count) for lead in leads], count)).scalars().all()
    found = select(jobs).where(jobs.c.tenant == wanted.tenant, jobs.c.id.in_(ids), *(fits for _, fits in others))
    if wanted.status:  # asked once more, as a job may have moved since it was found
        found = found.where(_read(jobs.c.status).in_(wanted.status))
    rows = tx.execute(found.order_by(jobs.c.id.desc()).limit(limit + 1)).all()
    if len(rows) > limit:
        return rows[:limit], rows[limit - 1].id
    return rows, ids[-1] if len(ids) == count else None


_Lead = dict[Column[Any], str | None]
"""The first columns of an index with the values that are wanted of them, and the last one, the job's id, with None."""
_Filter = tuple[list[_Lead], ColumnElement[bool]]
"""Where the jobs of a filter are found if it leads, and its condition if another one leads."""


def _by_rarity(wanted: Wanted) -> list[_Filter]:
    """Return the filters; those that are likely to match few jobs come first."""
    found: list[_Filter] = []

    def equal(column: Column[Any], value: str | None) -> None:
        if value is not None:
            found.append(([{jobs.c.tenant: wanted.tenant, column: value, jobs.c.id: None}], _read(column) == value))

    def status() -> None:
        each: list[_Lead] = [
            {jobs.c.tenant: wanted.tenant, jobs.c.status: one, jobs.c.id: None} for one in dict.fromkeys(wanted.status)
        ]
        found.append((each, _read(jobs.c.status).in_(wanted.status)))

    few = set(wanted.status) <= set(ACTIVE)
    if wanted.parent is not None:
        of_parent: _Lead = {jobs.c.parent_id: wanted.parent, jobs.c.tenant: wanted.tenant, jobs.c.id: None}
        found.append(([of_parent], _read(jobs.c.parent_id) == wanted.parent))
    if wanted.status and few:
        status()
    equal(jobs.c.name, wanted.name)
    own = job_labels.c
    for label, value in wanted.labels.items():
        having = (own.tenant == wanted.tenant, own.label == label, own.value == value, own.job_id == jobs.c.id)
        lead: _Lead = {own.tenant: wanted.tenant, own.label: label, own.value: value, own.job_id: None}
        # not `exists`, which PostgreSQL may turn into a join with all that have the label
        found.append(([lead], select(own.value).where(*having).correlate(jobs).scalar_subquery() == value))
    equal(jobs.c.model_name, wanted.model)
    if wanted.status and not few:
        status()
    equal(jobs.c.kind, wanted.kind)
    return found or [([{jobs.c.tenant: wanted.tenant, jobs.c.id: None}], true())]


def _read(column: Column[Any]) -> ColumnElement[str]:
    """Return a column as it is in a row that was found: no index has it, so none is tried instead of the job's id."""
    return column.concat("")


def _newest(lead: _Lead, before: str | None, count: int) -> Select[Any]:
    """Return the query of the newest ids along the index whose columns are those of `lead`.

    It asks for a range of the whole key, not for equal values: PostgreSQL takes an order by equal values and an id for
    one by ids, and reads all jobs from the newest on where it thinks that many match.
    """
    *columns, ids = lead
    values = [lead[column] for column in columns]
    key = tuple_(*lead)
    there = (key > tuple_(*values, ""), key < tuple_(*values, LAST if before is None else before))
    return select(ids.label("id")).where(*there).order_by(*(column.desc() for column in lead)).limit(count)


def _merged(queries: list[Select[Any]], count: int) -> Select[Any] | CompoundSelect[Any]:
    """Return the newest ids of several queries, each of which is limited by itself."""
    if len(queries) == 1:
        return queries[0]
    together = union_all(*(select(query.subquery().c.id) for query in queries))
    return together.order_by(together.selected_columns.id.desc()).limit(count)
