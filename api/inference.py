"""Predictions: networks parsed once and kept, and their answers as JSON."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

from pydantic_core import to_json

from api.errors import invalid
from rnn.errors import InputError
from rnn.inference import Predictor
from unroll.contract import PredictRequest

CACHE_BYTES = 256 * 1024 * 1024


class Predictors:
    """Parsed networks by the hash of their weights, the least recently used given up first. For many threads."""

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[Predictor, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, sha256: str, load: Callable[[], bytes]) -> Predictor:
        """The networks of a checkpoint. Who may see it is the caller's to have asked; `load` fetches the weights."""
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
    predictor: Predictor, request: PredictRequest, replica: int | Literal["all"], *, checkpoint: str, model: str | None
) -> bytes:
    """A PredictResponse as JSON; a number that overflowed is null. Refuses validation_failed with a pointer.

    Written straight from the arrays: building and checking a PredictResponse would take longer than the network.
    """
    states = None
    if request.state is not None:
        states = [[layer.model_dump(exclude_none=True) for layer in state.layers] for state in request.state]
    try:
        found = predictor.predict(request.inputs, states, replica, frozenset(request.returns))
    except InputError as error:
        raise invalid(error.pointer, error.code, error.detail) from None
    answer: dict[str, Any] = {"model": model, "checkpoint": checkpoint, "replica": replica}
    if found.outputs is not None:
        answer["outputs"] = [y.tolist() for y in found.outputs]
    if found.state is not None:
        answer["state"] = [
            {"layers": [{name: s.tolist() for name, s in layer.items()} for layer in layers]} for layers in found.state
        ]
    if found.hidden is not None:
        answer["hidden"] = [h.tolist() for h in found.hidden]
    return to_json(answer, inf_nan_mode="null")
