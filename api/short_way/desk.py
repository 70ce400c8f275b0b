"""Collects plain predictions of one turn of the event loop, runs them in one call of the kernel, and answers them."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any, Protocol

from api import bodies, inference, logs
from api.errors import Refused
from api.short_way.known import Known
from api.telemetry import Telemetry
from store.ids import new_id
from store.keys import Identity
from unroll.contract import PredictRequest

logger = logging.getLogger("unroll.api")

MOST_BYTES = 128 * 1024
"""Longest body of a plain request: it is read on the event loop."""
MOST_PRODUCTS = 8_000_000
"""Largest number of multiplications of a plain request, about 0.5 ms: it is computed on the event loop."""


class Asker(Protocol):
    """The connection on which a plain request came."""

    def answer(self, content: bytes, request_id: str) -> bool:
        """Send the answer, and return whether anybody is still there."""

    def go_ordinary_way(self, raw: bytes) -> None:
        """Have the request processed as any other."""


@dataclass(slots=True)
class Job:
    """A plain request that waits for the end of the turn."""

    asker: Asker
    identity: Identity
    target: inference.Target
    plain: inference.Plain
    replica: int
    raw: bytes
    begin: float


class Desk:
    """One desk serves all connections of a process, on its event loop."""

    def __init__(self, known: Known, telemetry: Telemetry) -> None:
        self.known = known
        self._telemetry = telemetry
        self._reader = inference.plain_reader(MOST_BYTES)
        self._waiting: list[Job] = []
        self._heads: dict[tuple[str, str | None, int], bytes] = {}

    def put(
        self, asker: Asker, identity: Identity, target: inference.Target, raw: bytes, end: int, begin: float
    ) -> bool:
        """Take a request, whose head ends at `end`, to be answered at the end of this turn; False if it is not plain."""
        predictor = target.predictor
        plain = self._plain(raw[end:], predictor.network.input_size, predictor.dtype)
        if plain is None:
            return False
        replica = target.best if plain.replica is None else plain.replica
        if replica is None or replica >= predictor.replicas:
            return False
        if sum(map(len, plain.sequences)) * predictor.products_per_step > MOST_PRODUCTS:
            return False
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(Job(asker, identity, target, plain, replica, raw, begin))
        return True

    def _plain(self, body: bytes, width: int, dtype: Any) -> inference.Plain | None:
        if self._reader is not None:
            return self._reader.read(body, width, dtype)
        try:
            request: PredictRequest = bodies.validate(PredictRequest, body)
        except Refused:
            return None
        return inference.plain(request, width, dtype)

    def flush(self) -> None:
        """Run and answer what waits: the requests to one network together."""
        waiting, self._waiting = self._waiting, []
        together: dict[tuple[int, int], list[Job]] = {}
        for job in waiting:
            together.setdefault((id(job.target.predictor), job.replica), []).append(job)
        for jobs in together.values():
            self._run(jobs)

    def _run(self, jobs: list[Job]) -> None:
        sequences = [sequence for job in jobs for sequence in job.plain.sequences]
        started = time.perf_counter()
        try:
            outputs = jobs[0].target.predictor.outputs(sequences, jobs[0].replica)
        except Exception:
            logger.exception("%s plain predictions failed together; they go the ordinary way", len(jobs))
            for job in jobs:
                job.asker.go_ordinary_way(job.raw)
            return
        self._telemetry.batch(len(jobs), time.perf_counter() - started, started - jobs[0].begin)
        at = 0
        for job in jobs:
            count = len(job.plain.sequences)
            target = job.target
            request_id = new_id("req")
            content = inference.outputs_alone(self._head(target, job.replica), outputs[at : at + count])
            at += count
            there = job.asker.answer(content, request_id)
            seconds = time.perf_counter() - job.begin
            self._telemetry.answered("POST", target.route, 200 if there else 0, seconds)
            logs.access(
                "POST",
                target.path,
                200 if there else 0,
                request_id,
                target.route,
                seconds,
                job.identity.key_id,
            )

    def _head(self, target: inference.Target, replica: int) -> bytes:
        key = target.checkpoint, target.model, replica
        found = self._heads.get(key)
        if found is None:
            if len(self._heads) >= 1000:
                self._heads.clear()
            found = self._heads[key] = inference.head(target.model, target.checkpoint, replica)
        return found
