"""Metrics, stored as blocks: one row holds some hundred steps of every metric and replica as raw doubles.

A row per (step, replica) would cost more than the training step that it describes (docs/adr). A block never crosses
a checkpoint's step, so withdrawing what came after a checkpoint deletes whole rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, select

from store.db import Database
from store.errors import InvalidRequest, NotFound
from store.tables import jobs, metric_blocks
from unroll.contract import Metrics, Series


@dataclass(frozen=True)
class Block:
    """Consecutive logged steps: `steps` [n] ascending, `values` [n, names, R]."""

    names: tuple[str, ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def write(tx: Connection, job_id: str, block: Block) -> None:
    """Store one block; the caller's transaction holds the job's row and is fenced."""
    tx.execute(
        insert(metric_blocks).values(
            job_id=job_id,
            first_step=int(block.steps[0]),
            last_step=int(block.steps[-1]),
            names=list(block.names),
            replicas=block.values.shape[2],
            data=block.steps.astype("<i8").tobytes() + block.values.astype("<f8").tobytes(),
        )
    )


def has(tx: Connection, job_id: str, first_step: int) -> bool:
    """Whether the job has a block that begins at this step."""
    where = (metric_blocks.c.job_id == job_id, metric_blocks.c.first_step == first_step)
    return tx.execute(select(metric_blocks.c.job_id).where(*where)).one_or_none() is not None


def withdraw(tx: Connection, job_id: str, after_step: int) -> int:
    """Delete what was measured after `after_step`; the number of blocks deleted."""
    return tx.execute(
        delete(metric_blocks).where(metric_blocks.c.job_id == job_id, metric_blocks.c.last_step > after_step)
    ).rowcount


def read(
    db: Database,
    tenant: str,
    job_id: str,
    *,
    names: Sequence[str] = (),
    from_step: int = 0,
    max_points: int | None = None,
) -> Metrics:
    """Metrics from `from_step` on, each series thinned to at most `max_points` (at least 4) points.

    Raises NotFound, and InvalidRequest for a metric that the job does not have.
    """
    with db.read() as tx:
        if tx.execute(select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.tenant == tenant)).one_or_none() is None:
            raise NotFound(f"There is no job {job_id}.")
        rows = tx.execute(
            select(metric_blocks)
            .where(metric_blocks.c.job_id == job_id, metric_blocks.c.last_step >= from_step)
            .order_by(metric_blocks.c.first_step)
        ).all()
    if not rows:
        return Metrics(job=job_id, last_step=0, downsampled=False, series=[])
    known = list(rows[0].names)
    for name in names:
        if name not in known:
            raise InvalidRequest(f"There is no metric {name!r}; this job has {', '.join(known)}.", pointer="?names")
    blocks = [_decode(row.data, len(row.names), row.replicas) for row in rows]
    steps = np.concatenate([block[0] for block in blocks])
    values = np.concatenate([block[1] for block in blocks])
    steps, values = steps[steps >= from_step], values[steps >= from_step]
    series = []
    thinned = False
    for name in names or known:
        for replica in range(values.shape[2]):
            column = values[:, known.index(name), replica]
            kept = thin(column, max_points) if max_points is not None else np.arange(len(column))
            thinned |= len(kept) < len(column)
            points = [value if np.isfinite(value) else None for value in column[kept].tolist()]
            series.append(Series(name=name, replica=replica, steps=steps[kept].tolist(), values=points))
    return Metrics(job=job_id, last_step=rows[-1].last_step, downsampled=thinned, series=series)


def _decode(data: bytes, names: int, replicas: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    count = len(data) // (8 * (1 + names * replicas))
    steps = np.frombuffer(data, "<i8", count)
    return steps, np.frombuffer(data, "<f8", offset=8 * count).reshape(count, names, replicas)


def thin(values: NDArray[np.float64], max_points: int) -> NDArray[np.intp]:
    """Indices of at most max(max_points, 4) points: first, last, and of each stretch the least and the greatest.

    The idea of M4 (Jugel et al. 2014): a line plot of the kept points shows the same extremes. A stretch without a
    finite value keeps its first point, so that a gap stays visible.
    """
    count = len(values)
    if count <= max(max_points, 4):
        return np.arange(count)
    stretches = max((max_points - 2) // 2, 1)
    edges = np.linspace(1, count - 1, stretches + 1).astype(np.intp)
    kept = {0, count - 1}
    for start, stop in pairwise(edges):
        part = values[start:stop]
        if len(part) == 0:
            continue
        if not np.isfinite(part).any():
            kept.add(int(start))
            continue
        finite = np.where(np.isfinite(part), part, np.nan)
        kept |= {int(start + np.nanargmin(finite)), int(start + np.nanargmax(finite))}
    return np.array(sorted(kept), dtype=np.intp)
