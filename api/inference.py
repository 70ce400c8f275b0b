"""Predictions: networks are parsed once and kept, and answers are written as JSON."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic_core import to_json

from api.errors import invalid
from api.memory import Held
from rnn.errors import InputError
from rnn.serving.predictor import Predictor
from unroll.contract import PredictRequest
from unroll.contract.limits import MAX_PREDICT_SEQUENCES, MAX_PREDICT_VALUES

CACHE_BYTES = 256 * 1024 * 1024
MAX_COMMAS = 2 * MAX_PREDICT_VALUES
"""Largest number of commas, which inputs and states at their limits have."""
MAX_LISTS = MAX_PREDICT_VALUES + 3 * MAX_PREDICT_SEQUENCES
"""Largest number of lists at the same limits: one for each time step, and three for each sequence with its state."""
MAX_FIELDS = 3 * MAX_PREDICT_SEQUENCES
_JSON_BYTES = 44
"""Bytes of a number in an answer: as JSON, once in pieces and once as a whole."""
_ROWS_OF = 16_384
"""Number of values that are Python objects at a time while an answer is written."""


def require_few(content: bytes | bytearray) -> None:
    """Refuse a body whose parsed form would be far larger, before it is parsed.

    For example, `[0],` takes four bytes as JSON and 110 bytes as Python objects.
    """
    for found, most, what in (
        (content.count(b","), MAX_COMMAS, "values and lists"),
        (content.count(b"["), MAX_LISTS, "lists (time steps, sequences, states)"),
        (content.count(b":"), MAX_FIELDS, "fields"),
    ):
        if found > most:
            raise invalid("", "too_many_values", f"There are {found:,} {what} in it, more than {most:,}.")


class Predictors:
    """Keeps parsed networks by the hash of their weights, and drops the least recently used first.

    It is safe to use from many threads.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[Predictor, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, sha256: str, load: Callable[[], bytes]) -> Predictor:
        """Return the networks of a checkpoint; `load` fetches the weights. The caller must have checked access."""
        with self._lock:
            if sha256 in self._kept:
                self._kept.move_to_end(sha256)
                return self._kept[sha256][0]
        content = load()
        predictor = Predictor(content)
        with self._lock:
            if sha256 not in self._kept and len(content) <= self._max_bytes:
                self._kept[sha256] = predictor, len(content)
                self._bytes += len(content)
                while self._bytes > self._max_bytes:
                    self._bytes -= self._kept.popitem(last=False)[1][1]
        return predictor


def predict(
    predictor: Predictor,
    request: PredictRequest,
    replica: int | Literal["all"],
    held: Held,
    *,
    checkpoint: str,
    model: str | None,
) -> bytes:
    """Return a PredictResponse as JSON; a number that overflowed is null.

    The memory that it takes is reserved first. Refuses validation_failed with a pointer, and busy.

    The JSON is written directly from the arrays: building and validating a PredictResponse would take longer than the
    network.
    """
    states = None
    if request.state is not None:
        states = [[layer.model_dump(exclude_none=True) for layer in state.layers] for state in request.state]
    try:
        found = predictor.predict(request.inputs, states, replica, frozenset(request.returns), request.steps, held.take)
    except InputError as error:
        raise invalid(error.pointer, error.code, error.detail) from None
    held.take(_JSON_BYTES * sum(array.size for array in (*(found.outputs or ()), *(found.hidden or ()))))
    pieces = [to_json({"model": model, "checkpoint": checkpoint, "replica": replica})[:-1]]
    if found.outputs is not None:
        pieces += [b',"outputs":', *_listed(map(_json, found.outputs))]
    if found.state is not None:
        states_of = (
            [{"layers": [{name: state.tolist() for name, state in layer.items()} for layer in layers]}]
            for layers in found.state
        )
        pieces += [b',"state":', *_listed([_plain(one)[1:-1]] for one in states_of)]
    if found.hidden is not None:
        pieces += [b',"hidden":', *_listed(map(_json, found.hidden))]
    return b"".join([*pieces, b"}"])


def _json(array: NDArray[Any]) -> Iterator[bytes]:
    """Write an array as nested lists.

    Only a few lists exist at a time, because as Python objects they take ten times the memory of their JSON.
    """
    if array.size <= _ROWS_OF:
        return iter([_plain(array.tolist())])
    rows = max(1, _ROWS_OF * len(array) // array.size)
    if rows == 1:
        return _listed(map(_json, array))
    stretches = (array[start : start + rows].tolist() for start in range(0, len(array), rows))
    return _listed([_plain(stretch)[1:-1]] for stretch in stretches)


def _listed(items: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    yield b"["
    for i, item in enumerate(items):
        if i:
            yield b","
        yield from item
    yield b"]"


def _plain(value: object) -> bytes:
    return to_json(value, inf_nan_mode="null")
