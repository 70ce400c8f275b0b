"""Finds jobs by filters, newest first, at a cost that grows neither with the number of jobs nor with that of matches.

One filter leads. It has an index whose order is that of the list, so the newest jobs that match it are read and no
others. Where there are further filters, at most EXAMINED jobs are compared with them. A page that finds too few among
these ends there, and the next one goes on behind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Connection, Row, Select, select, true, union_all

from store.states import ACTIVE
from store.tables import job_labels, jobs
from unroll.contract import JobStatus

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
    (lead, _), *others = _by_rarity(wanted)
    count = EXAMINED if others else limit + 1
    ids = tx.execute(_merged([_newest(query, before, count) for query in lead], count)).scalars().all()
    found = select(jobs).where(jobs.c.tenant == wanted.tenant, jobs.c.id.in_(ids), *(fits for _, fits in others))
    if wanted.status:  # asked once more, as a job may have moved since it was found
        found = found.where(jobs.c.status.in_(wanted.status))
    rows = tx.execute(found.order_by(jobs.c.id.desc()).limit(limit + 1)).all()
    if len(rows) > limit:
        return rows[:limit], rows[limit - 1].id
    return rows, ids[-1] if len(ids) == count else None


_Filter = tuple[list[Select[Any]], ColumnElement[bool]]
"""The queries of a filter's jobs if it leads, each along an index, and its condition if another one leads."""


def _by_rarity(wanted: Wanted) -> list[_Filter]:
    """Return the filters; those that are likely to match few jobs come first."""
    found: list[_Filter] = []

    def of_jobs(*conditions: ColumnElement[bool]) -> list[Select[Any]]:
        mine = jobs.c.tenant == wanted.tenant
        return [select(jobs.c.id).where(mine, one) for one in conditions] or [select(jobs.c.id).where(mine)]

    def equal(column: ColumnElement[Any], value: str | None) -> None:
        if value is not None:
            found.append((of_jobs(column == value), column == value))

    each = [jobs.c.status == status for status in dict.fromkeys(wanted.status)]
    status = [(of_jobs(*each), jobs.c.status.in_(wanted.status))] if each else []
    few = set(wanted.status) <= set(ACTIVE)
    equal(jobs.c.parent_id, wanted.parent)
    found += status if few else []
    equal(jobs.c.name, wanted.name)
    for label, value in wanted.labels.items():
        having = (job_labels.c.tenant == wanted.tenant, job_labels.c.label == label, job_labels.c.value == value)
        lead = select(job_labels.c.job_id.label("id")).where(*having)
        found.append(([lead], lead.where(job_labels.c.job_id == jobs.c.id).correlate(jobs).exists()))
    equal(jobs.c.model_name, wanted.model)
    found += [] if few else status
    equal(jobs.c.kind, wanted.kind)
    return found or [(of_jobs(), true())]


def _newest(query: Select[Any], before: str | None, count: int) -> Select[Any]:
    column = query.selected_columns.id
    if before is not None:
        query = query.where(column < before)
    return query.order_by(column.desc()).limit(count)


def _merged(queries: list[Select[Any]], count: int) -> Select[Any] | CompoundSelect[Any]:
    """Return the newest ids of several queries, each of which is limited by itself."""
    if len(queries) == 1:
        return queries[0]
    together = union_all(*(select(query.subquery().c.id) for query in queries))
    return together.order_by(together.selected_columns.id.desc()).limit(count)
