"""Compares what a model answers with what its shadow would have answered, in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

MOST_WAITING = 64
"""Requests that wait to be compared. While there are so many, further ones are not compared but counted."""
Outcome = Literal["compared", "dropped", "failed"]

logger = logging.getLogger("unroll.api")


class Shadowed(Protocol):
    """What answers, with its shadow."""

    @property
    def model(self) -> str | None:
        """The model's name."""

    @property
    def shadow(self) -> Any:
        """What is compared with it; None: nothing."""


class Shadows:
    """One thread compares, so that a shadow takes at most one core from the answers that somebody waits for."""

    def __init__(self, count: Callable[[str, Outcome, float], None]) -> None:
        """`count` takes the model's name, what became of one request, and how different the outputs are."""
        self._count = count
        self._waiting: queue.Queue[tuple[Shadowed, Sequence[Any], Sequence[Any]] | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    def offer(self, target: Shadowed, sequences: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Compare these outputs with those of the target's shadow, soon. Safe to call from any thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadows", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((target, sequences, outputs))
        except queue.Full:
            self._count(target.model or "", "dropped", 0.0)

    def close(self) -> None:
        """Stop; what waits is not compared."""
        if self._thread is not None:
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put(None)
            self._thread.join(5)

    def _work(self) -> None:
        while (one := self._waiting.get()) is not None:
            target, sequences, outputs = one
            try:
                shadow = target.shadow
                other = shadow.predictor.advance(sequences, shadow.best)[0]
                self._count(target.model or "", "compared", difference(outputs, other))
            except Exception:
                logger.exception("a shadow of the model %s failed", target.model)
                self._count(target.model or "", "failed", 0.0)


def difference(outputs: Sequence[Any], others: Sequence[Any]) -> float:
    """Return the largest distance of two outputs over the largest output; infinity where only one is finite."""
    a, b = (np.concatenate([np.ravel(one) for one in several]) for several in (outputs, others))
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    both = np.isfinite(a)
    scale = float(np.abs(a[both]).max(initial=0.0))
    distance = float(np.abs(a[both] - b[both]).max(initial=0.0))
    return distance / scale if scale else distance
