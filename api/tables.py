"""Curves as tables in pieces, as CSV or Arrow. Each row is a point: name, replica, step, value."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from store.metrics import Block
from unroll.contract import Metrics

COLUMNS = ("name", "replica", "step", "value")
ROWS = 16_384
"""Number of rows in one piece: small enough for memory, and large enough that the fixed cost of a piece is
negligible."""


@dataclass(frozen=True)
class Points:
    """Columns of the table, with rows in the order of steps, names and replicas.

    `name` holds indices into `names`.
    """

    names: tuple[str, ...]
    name: NDArray[np.int32]
    replica: NDArray[np.int32]
    step: NDArray[np.int64]
    value: NDArray[np.float64]


def of_blocks(blocks: Iterable[Block]) -> Iterator[Points]:
    """Yield pieces of about ROWS rows."""
    for block in blocks:
        _, names, replicas = block.values.shape
        rows = max(1, ROWS // (names * replicas))
        for start in range(0, len(block.steps), rows):
            steps, values = block.steps[start : start + rows], block.values[start : start + rows]
            name, replica = (one.ravel().astype(np.int32) for one in np.indices((names, replicas)))
            yield Points(
                block.names,
                np.tile(name, len(steps)),
                np.tile(replica, len(steps)),
                np.repeat(steps, names * replicas),
                values.ravel(),
            )


def of_series(found: Metrics) -> Iterator[Points]:
    """Yield one piece, or nothing if there are no series."""
    if not found.series:
        return
    names = tuple(dict.fromkeys(one.name for one in found.series))
    lengths = [len(one.steps) for one in found.series]
    name = np.repeat(np.array([names.index(one.name) for one in found.series], np.int32), lengths)
    replica = np.repeat(np.array([one.replica for one in found.series], np.int32), lengths)
    step = np.concatenate([np.array(one.steps, np.int64) for one in found.series])
    value = np.concatenate([np.array(one.values, np.float64) for one in found.series])  # null becomes NaN
    order = np.lexsort((replica, name, step))
    yield Points(names, name[order], replica[order], step[order], value[order])


def as_csv(pieces: Iterable[Points]) -> Iterator[bytes]:
    """Yield CSV (RFC 4180) with a header. A value that is not finite is empty."""
    yield (",".join(COLUMNS) + "\r\n").encode()
    for points in pieces:
        text = io.StringIO()
        values = [repr(value) if isfinite(value) else "" for value in points.value.tolist()]
        names = [points.names[name] for name in points.name.tolist()]
        csv.writer(text).writerows(zip(names, points.replica.tolist(), points.step.tolist(), values, strict=True))
        yield text.getvalue().encode()


def as_arrow(pieces: Iterable[Points]) -> Iterator[bytes]:
    """Yield an Arrow IPC stream. A value that is not finite is null."""
    import pyarrow as pa  # takes 0.2 s, and most processes are never asked for it

    types = (pa.dictionary(pa.int32(), pa.string()), pa.int32(), pa.int64(), pa.float64())
    sink = io.BytesIO()

    def written() -> bytes:
        content = sink.getvalue()
        sink.seek(0)
        sink.truncate()
        return content

    with pa.ipc.new_stream(sink, pa.schema(list(zip(COLUMNS, types, strict=True)))) as writer:
        for points in pieces:
            columns = [
                pa.DictionaryArray.from_arrays(points.name, pa.array(points.names, pa.string())),
                pa.array(points.replica),
                pa.array(points.step),
                pa.array(points.value, mask=~np.isfinite(points.value)),
            ]
            writer.write_batch(pa.record_batch(columns, names=list(COLUMNS)))
            yield written()
    yield written()
