"""Collects the small runs that are asked for in one turn of the event loop, and runs them in one call of the kernel."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from api.inference import Array, LayerStates, Predictor
from api.telemetry import Telemetry

logger = logging.getLogger("unroll.api")

MOST_PRODUCTS = 8_000_000
"""Largest number of multiplications of one run, about 0.5 ms: it is computed on the event loop."""


@dataclass(slots=True)
class Errand:
    """A small run of one network, waiting for the end of the turn."""

    predictor: Predictor
    replica: int
    sequences: list[Array]
    """Each [T_i, I], finite, in the network's dtype."""
    states: list[LayerStates] | None
    """Where each sequence starts; None: at the network's h0."""
    begin: float
    """time.perf_counter() when the request came."""
    done: Callable[[list[Array], list[LayerStates]], None]
    """Takes outputs and the states after them."""
    failed: Callable[[], None]
    """Is called if the run raised something unexpected."""


class Desk:
    """Serves all connections of a process, on its event loop."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._waiting: list[Errand] = []

    def put(self, errand: Errand) -> None:
        """Take an errand, to be run at the end of this turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(errand)

    def flush(self) -> None:
        """Run what waits: the errands of one network together."""
        waiting, self._waiting = self._waiting, []
        together: dict[tuple[int, int, bool], list[Errand]] = {}
        for errand in waiting:
            key = id(errand.predictor), errand.replica, errand.states is None
            together.setdefault(key, []).append(errand)
        for errands in together.values():
            self._run(errands)

    def _run(self, errands: list[Errand]) -> None:
        first = errands[0]
        sequences = [sequence for errand in errands for sequence in errand.sequences]
        states = None if first.states is None else [state for errand in errands for state in errand.states or []]
        started = time.perf_counter()
        try:
            outputs, last = first.predictor.advance(sequences, first.replica, states)
        except Exception:
            logger.exception("%s runs of a network failed together", len(errands))
            for errand in errands:
                errand.failed()
            return
        self._telemetry.batch(len(errands), time.perf_counter() - started, started - first.begin)
        at = 0
        for errand in errands:
            end = at + len(errand.sequences)
            errand.done(outputs[at:end], last[at:end])
            at = end


def is_small(predictor: Predictor, sequences: list[Array]) -> bool:
    """Return whether one replica runs these sequences fast enough for the event loop."""
    return sum(map(len, sequences)) * predictor.products_per_step <= MOST_PRODUCTS
