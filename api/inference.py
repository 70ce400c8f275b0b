"""Predictions: networks are parsed once and kept, and run what requests ask for."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from api.answers import Answer, Spread
from api.errors import invalid
from api.memory import Held
from api.shadows import Shadows
from rnn import errors, kernels
from rnn.serving import ensembles, predictor, states
from rnn.serving import plain as posted
from unroll.contract import PredictOptions, PredictRequest, Returnable
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
_REDUCED_BYTES = 40
"""Bytes of working memory for each output that is reduced: float64 and squares, or sorted copies."""


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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prediction request asks for, whatever its media type."""

    options: PredictOptions
    inputs: Sequence[Any]
    """Each an array [T_i, I], or nested lists."""
    states: Sequence[LayerStates] | None = None
    single: bool = False
    """Whether the inputs were one sequence without an axis for several."""
    place: Callable[[str], str] = str
    """Turns a pointer into the JSON request into one into the body that was sent."""

    @classmethod
    def of(cls, request: PredictRequest) -> Asked:
        """Return what a request in JSON asks for."""
        states = None
        if request.state is not None:
            states = [[layer.model_dump(exclude_none=True) for layer in state.layers] for state in request.state]
        return cls(request, request.inputs, states)


def predict(target: Target, asked: Asked, held: Held, shadows: Shadows | None = None) -> Answer:
    """Run what is asked for. The memory that it takes is reserved first.

    Refuses validation_failed with a pointer, and busy. `shadows` compares what it gives with the target's shadow, if it
    has one.
    """
    options = asked.options
    if options.reduce is not None:
        _require_reducible(asked)
    replica = target.best if options.replica == "best" else options.replica
    if replica is None:
        detail = "This checkpoint was not evaluated; name a replica, or ask for all."
        raise invalid(asked.place("/replica"), "not_evaluated", detail)
    try:
        found = target.predictor.predict(
            asked.inputs, asked.states, replica, frozenset(options.returns), options.steps, held.take
        )
    except InputError as error:
        raise invalid(asked.place(error.pointer), error.code, error.detail) from None
    if shadows is not None and target.shadow is not None and found.outputs is not None and replica != "all":
        alone = plain(asked, target.predictor.network.input_size, target.predictor.dtype)
        if alone is not None:
            shadows.offer(target, alone.sequences, found.outputs)
    answer = Answer(target.model, target.checkpoint, replica, found.outputs, found.hidden, found.state)
    return replace(answer, single=asked.single) if options.reduce is None else _reduced(answer, asked, held)


def _require_reducible(asked: Asked) -> None:
    if asked.options.replica != "all":
        detail = 'reduce says what all replicas say together: set replica to "all"'
        raise invalid(asked.place("/reduce"), "contradiction", detail)
    if asked.options.returns != ["outputs"]:
        detail = "only outputs are reduced: leave return out, or ask for state and hidden in another request"
        raise invalid(asked.place("/reduce"), "contradiction", detail)


def _reduced(answer: Answer, asked: Asked, held: Held) -> Answer:
    how, outputs = asked.options.reduce, answer.outputs or []
    assert how is not None  # noqa: S101 - as the caller has asked
    held.take(_REDUCED_BYTES * max((array.size for array in outputs), default=0))
    several = [ensembles.reduced(array, how) for array in outputs]
    interval = Spread(
        [one.lower for one in several],
        [one.upper for one in several],
        ensembles.LEVEL if how == "quantiles" else None,
    )
    return replace(answer, outputs=[one.centre for one in several], interval=interval, single=asked.single)


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


def plain(asked: Asked, width: int, dtype: Any) -> Plain | None:
    """Return the sequences of a request that asks for nothing but outputs; None if it does, or they are not right."""
    options = asked.options
    if asked.states is not None or options.steps is not None or options.returns != ["outputs"]:
        return None
    if options.replica == "all" or options.reduce is not None:
        return None
    try:
        with np.errstate(over="ignore"):
            sequences = [np.asarray(sequence, dtype) for sequence in asked.inputs]
    except (TypeError, ValueError):
        return None
    for sequence in sequences:
        if sequence.ndim != 2 or sequence.shape[1] != width or not np.isfinite(sequence).all():
            return None
    replica = None if options.replica == "best" else options.replica
    return Plain(sequences, replica, not options.model_fields_set - {"inputs"})
