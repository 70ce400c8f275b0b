"""Predictions: networks are parsed once and kept, and answers are written as JSON."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from api.errors import invalid
from api.memory import Held
from api.shadows import Shadows
from rnn import errors, kernels
from rnn.serving import plain as posted
from rnn.serving import predictor, states
from unroll.contract import PredictRequest, Returnable
from unroll.contract.limits import MAX_PREDICT_SEQUENCES, MAX_PREDICT_VALUES


@dataclass(frozen=True, slots=True)
class Target:
    """What answers predictions."""

    predictor: Predictor
    best: int | None
    """The replica that answers by default; None: the request must name one."""
    checkpoint: str
    model: str | None
    candidate: Target | None = None
    """What answers a share of the requests instead."""
    share: float = 0.0
    shadow: Target | None = None
    """What runs the same sequences, to be compared."""

    def drawn(self) -> Target:
        """Return what answers one request: this, or the candidate for its share of requests."""
        if self.candidate is not None and random.random() < self.share:  # noqa: S311 - no secret
            return self.candidate
        return self


Plain = posted.Plain
Array = NDArray[Any]
LayerStates = predictor.LayerStates
InputError = errors.InputError
dump_states, load_states = states.dump_states, states.load_states
Predictor = predictor.Predictor
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


def predict(target: Target, request: PredictRequest, held: Held, shadows: Shadows | None = None) -> bytes:
    """Return a PredictResponse as JSON; a number that overflowed is null.

    The memory that it takes is reserved first. Refuses validation_failed with a pointer, and busy.

    `shadows` compares what it gives with the target's shadow, if it has one.

    The JSON is written directly from the arrays: building and validating a PredictResponse would take longer than the
    network.
    """
    replica = target.best if request.replica == "best" else request.replica
    if replica is None:
        raise invalid("/replica", "not_evaluated", "This checkpoint was not evaluated; name a replica, or ask for all.")
    given = None
    if request.state is not None:
        given = [[layer.model_dump(exclude_none=True) for layer in state.layers] for state in request.state]
    try:
        found = target.predictor.predict(
            request.inputs, given, replica, frozenset(request.returns), request.steps, held.take
        )
    except InputError as error:
        raise invalid(error.pointer, error.code, error.detail) from None
    held.take(_JSON_BYTES * sum(array.size for array in (*(found.outputs or ()), *(found.hidden or ()))))
    if shadows is not None and target.shadow is not None and found.outputs is not None and replica != "all":
        alone = plain(request, target.predictor.network.input_size, target.predictor.dtype)
        if alone is not None:
            shadows.offer(target, alone.sequences, found.outputs)
    pieces = [head(target.model, target.checkpoint, replica)]
    if found.outputs is not None:
        pieces += [b',"outputs":', *_listed(map(_json, found.outputs))]
    if found.state is not None:
        pieces += [b',"state":', *_states(found.state)]
    if found.hidden is not None:
        pieces += [b',"hidden":', *_listed(map(_json, found.hidden))]
    return b"".join([*pieces, b"}"])


def run(
    target: Target, inputs: Sequence[Array], replica: int | Literal["all"], returns: Collection[Returnable], held: Held
) -> dict[str, list[Array]]:
    """Return outputs and hidden states as arrays. Refuses validation_failed with a pointer, and busy."""
    try:
        found = target.predictor.predict(inputs, None, replica, returns, None, held.take)
    except InputError as error:
        raise invalid(error.pointer, error.code, error.detail) from None
    return {name: arrays for name in ("outputs", "hidden") if (arrays := getattr(found, name)) is not None}


def plain_reader(most_bytes: int) -> posted.PlainReader | None:
    """Return what reads plain bodies natively; None if there is no kernel."""
    return posted.PlainReader(most_bytes, MAX_PREDICT_SEQUENCES) if kernels.available() else None


def plain(request: PredictRequest, width: int, dtype: Any) -> Plain | None:
    """Return the sequences of a request that asks for nothing but outputs; None if it does, or they are not right."""
    if request.state is not None or request.steps is not None or request.returns != ["outputs"]:
        return None
    if request.replica == "all":
        return None
    try:
        sequences = [np.asarray(sequence, dtype) for sequence in request.inputs]
    except (TypeError, ValueError):
        return None
    for sequence in sequences:
        if sequence.ndim != 2 or sequence.shape[1] != width or not np.isfinite(sequence).all():
            return None
    replica = None if request.replica == "best" else request.replica
    return Plain(sequences, replica, request.model_fields_set == {"inputs"})


def head(model: str | None, checkpoint: str, replica: int | Literal["all"]) -> bytes:
    """Return the beginning of a PredictResponse as JSON, which says what answers."""
    return to_json({"model": model, "checkpoint": checkpoint, "replica": replica})[:-1]


def outputs_alone(begin: bytes, outputs: list[NDArray[Any]]) -> bytes:
    """Return the PredictResponse that begins with `head` and has outputs alone."""
    return b"".join([begin, b',"outputs":', *_listed(map(_json, outputs)), b"}"])


def states_json(given: list[LayerStates]) -> bytes:
    """Return a SessionState as JSON."""
    return b'{"state":' + b"".join(_states(given)) + b"}"


def _states(given: list[LayerStates]) -> Iterator[bytes]:
    of_sequences = (
        [{"layers": [{name: state.tolist() for name, state in layer.items()} for layer in layers]}] for layers in given
    )
    return _listed([_plain(one)[1:-1]] for one in of_sequences)


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
