"""Metrics, stored as blocks: one row holds some hundred steps of every metric and replica as raw doubles.

A row for each (step, replica) would cost more than the training step that it describes (docs/adr). A block never
crosses a checkpoint's step, so that withdrawing everything after a checkpoint deletes whole rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select

from store.db import Database
from store.errors import Busy, InvalidRequest, NotFound
from store.tables import jobs, metric_blocks
from store.thinning import Steps, Thinning, Values
from unroll.contract import Metrics, Series
from unroll.contract.wording import unknown

MAX_VALUES = 200_000
"""Largest number of values in one answer of `read`: about 5 MB of JSON, which take 50 ms to write."""
MAX_THINNED_AT_ONCE = 1_000_000
"""Series with more values together are thinned one request at a time: a million values take 0.1 s."""
MAX_THINNED = 50_000_000
"""Largest number of values that one request reads to thin them."""
_turn = threading.Lock()
_NOTHING: tuple[Steps, Values] = (np.zeros(0, np.int64), np.zeros(0))
_PIECE_BYTES = 4 * 1024 * 1024
"""Number of bytes that `stream` holds at once, rounded up to whole blocks."""


@dataclass(frozen=True)
class Block:
    """Consecutive logged steps: `steps` [n] ascending, `values` [n, names, R]."""

    names: tuple[str, ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def write(tx: Connection, job_id: str, block: Block) -> None:
    """Store one block. The caller's transaction must hold the job's row and be fenced."""
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
    """Return whether the job has a block that begins at this step."""
    where = (metric_blocks.c.job_id == job_id, metric_blocks.c.first_step == first_step)
    return tx.execute(select(metric_blocks.c.job_id).where(*where)).one_or_none() is not None


def withdraw(tx: Connection, job_id: str, after_step: int) -> int:
    """Delete the metrics after `after_step`, and return the number of deleted blocks."""
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
    """Return metrics from `from_step` on: a page of at most MAX_VALUES values, or thinned series.

    With `max_points` (>= 4), each series is thinned to that many points. Memory holds only some blocks and the answer,
    however long the job is. Raises NotFound, and InvalidRequest for a metric that the job does not have, for thinned
    series with more than MAX_VALUES values together and for more than MAX_THINNED values to thin. Raises Busy if other
    long series are being thinned.
    """
    with db.read() as tx:
        last_step = _last_step(tx, tenant, job_id)
        first = next(_blocks(tx, job_id, from_step, names), None)
        if first is None:
            return Metrics(job=job_id, last_step=last_step, downsampled=False, series=[])
        columns = [(name, replica) for name in first.names for replica in range(first.values.shape[2])]
        count, following = 0, None
        if max_points is not None:
            count = _count(tx, job_id, first)
            _require_few(min(count, max_points), len(columns))
        if max_points is not None and count > max_points:
            thinning = Thinning(count, max_points)
            with _turn_for(count * len(columns)):
                for block in _blocks(tx, job_id, from_step, names):
                    thinning.add(block.steps, block.values.reshape(len(block.steps), -1))
            found = thinning.columns()
        else:
            blocks = _blocks(tx, job_id, from_step, names)
            steps, values, following = _page(blocks, len(columns))
            found = [(steps, values[:, column]) for column in range(len(columns))]
    series = [
        Series(name=name, replica=replica, steps=steps.tolist(), values=_or_none(values))
        # nothing is found where all of it was withdrawn at this moment, after a crash
        for (name, replica), (steps, values) in zip(columns, found or len(columns) * [_NOTHING], strict=True)
    ]
    thinned = max_points is not None and count > max_points
    return Metrics(job=job_id, last_step=last_step, downsampled=thinned, series=series, next=following)


def stream(db: Database, tenant: str, job_id: str, *, names: Sequence[str] = (), from_step: int = 0) -> Iterator[Block]:
    """Yield all metrics from `from_step` on, and read them as the caller takes them.

    No transaction is open while the caller uses a block. Raises at once NotFound, and InvalidRequest for a metric that
    the job does not have. While it is read, raises NotFound if the job is deleted, and DatabaseUnavailable.
    """

    def piece(start: int) -> list[Block]:
        found: list[Block] = []
        with db.read() as tx:
            _last_step(tx, tenant, job_id)
            for block in _blocks(tx, job_id, start, names):
                found.append(block)
                if sum(one.values.nbytes for one in found) >= _PIECE_BYTES:
                    break
        return found

    def pieces(found: list[Block]) -> Iterator[Block]:
        while found:
            yield from found
            found = piece(int(found[-1].steps[-1]) + 1)

    return pieces(piece(from_step))


def _last_step(tx: Connection, tenant: str, job_id: str) -> int:
    if tx.execute(select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.tenant == tenant)).one_or_none() is None:
        raise NotFound(f"There is no job {job_id}.")
    last = select(metric_blocks.c.last_step).where(metric_blocks.c.job_id == job_id)
    row = tx.execute(last.order_by(metric_blocks.c.first_step.desc()).limit(1)).one_or_none()
    return 0 if row is None else int(row.last_step)


def _from(job_id: str, from_step: int) -> ColumnElement[bool]:
    """Return the condition for blocks with a step >= from_step, found by their key.

    Blocks do not overlap, so at most one of them begins before from_step.
    """
    before = select(func.max(metric_blocks.c.first_step)).where(
        metric_blocks.c.job_id == job_id, metric_blocks.c.first_step <= from_step
    )
    return and_(
        metric_blocks.c.job_id == job_id,
        metric_blocks.c.first_step >= func.coalesce(before.scalar_subquery(), from_step),
        metric_blocks.c.last_step >= from_step,
    )


def _blocks(tx: Connection, job_id: str, from_step: int, names: Sequence[str]) -> Iterator[Block]:
    """Yield the metrics with these names (without names: all) from `from_step` on.

    A few blocks are in memory at a time.
    """
    query = select(metric_blocks).where(_from(job_id, from_step)).order_by(metric_blocks.c.first_step)
    with tx.execute(query.execution_options(yield_per=4)) as rows:
        for row in rows:
            yield _decode(row, from_step, names)


def _decode(row: Row[Any], from_step: int, names: Sequence[str]) -> Block:
    known = list(row.names)
    for name in names:
        if name not in known:
            raise InvalidRequest(unknown("metric", name, known), pointer="?names")
    count = len(row.data) // (8 * (1 + len(known) * row.replicas))
    steps = np.frombuffer(row.data, "<i8", count)
    values = np.frombuffer(row.data, "<f8", offset=8 * count).reshape(count, len(known), row.replicas)
    begin = int(np.searchsorted(steps, from_step))
    wanted = tuple(dict.fromkeys(names)) or tuple(known)
    if wanted != tuple(known):
        values = values[:, [known.index(name) for name in wanted]]
    return Block(wanted, steps[begin:], values[begin:])


def _count(tx: Connection, job_id: str, first: Block) -> int:
    """Count the logged steps from the first block on.

    The first block's steps are given; the numbers of steps of the others follow from their sizes.
    """
    row = metric_blocks.c
    after = (row.job_id == job_id, row.first_step > int(first.steps[-1]))
    size = tx.execute(select(func.sum(func.length(row.data))).where(*after)).scalar_one() or 0
    names = tx.execute(select(row.names).where(row.job_id == job_id).limit(1)).scalar_one()
    width: int = 8 * (1 + len(names) * first.values.shape[2])
    return len(first.steps) + int(size) // width


@contextmanager
def _turn_for(values: int) -> Iterator[None]:
    """Let one thread at a time thin many values, so that they never take more than one core from other requests."""
    if values > MAX_THINNED:
        detail = (
            f"{values:,} values would have to be read, more than {MAX_THINNED:,}: name fewer metrics, or begin later."
        )
        raise InvalidRequest(detail, pointer="?max_points")
    if values <= MAX_THINNED_AT_ONCE:
        yield
        return
    if not _turn.acquire(blocking=False):
        raise Busy("Another long series is being thinned; try again.")
    try:
        yield
    finally:
        _turn.release()


def _require_few(points: int, series: int) -> None:
    if points * series > MAX_VALUES:
        detail = (
            f"{series:,} series of {points:,} points are {points * series:,} values, more than {MAX_VALUES:,}: "
            f"at most {MAX_VALUES // series:,} points, or fewer metrics by `names`."
        )
        raise InvalidRequest(detail, pointer="?max_points")


def _page(blocks: Iterator[Block], columns: int) -> tuple[Steps, Values, int | None]:
    """Return the first steps [n] with their values [n, columns], and the step that follows if there are more."""
    steps, values = [np.zeros(0, np.int64)], [np.zeros((0, columns))]
    left, following = max(MAX_VALUES // columns, 1), None
    for block in blocks:
        steps.append(block.steps[:left])
        values.append(block.values[:left].reshape(-1, columns))
        if len(block.steps) > left:
            following = int(block.steps[left])
            break
        left -= len(block.steps)
    return np.concatenate(steps), np.concatenate(values), following


def _or_none(values: Values) -> list[float | None]:
    plain: list[float | None] = values.tolist()
    if not np.isfinite(values).all():
        for row in np.flatnonzero(~np.isfinite(values)):
            plain[row] = None
    return plain
