"""Takes plain requests whose head is known, and answers them with what the desk has run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from api import answers, inference, tensors
from api.access import GONE, access
from api.answers import Answer
from api.errors import Refused
from api.negotiation import JSON
from api.sessions import Live, Sessions, digest_of
from api.sessions import etag as tag
from api.shadows import Shadows
from api.short_way.desk import Desk, Errand, is_small
from api.short_way.known import Form, Known, Sender
from api.telemetry import Telemetry
from api.validation import validate
from store.ids import new_id
from store.keys import Identity
from unroll.contract import PredictRequest
from unroll.contract.limits import MAX_PREDICT_SEQUENCES

MOST_BYTES = 128 * 1024
"""Longest body of a plain request: it is read on the event loop."""


_ROUTES = {
    "models": "/v1/models/{name}/predict",
    "checkpoints": "/v1/checkpoints/{checkpoint_id}/predict",
    "sessions": "/v1/sessions/{session_id}/step",
}
"""The template of a plain request's path, by its noun."""


_JSON_ALONE = Form(JSON, JSON)


class Asked(NamedTuple):
    """What differs from request to request in a plain head."""

    path: bytes
    expected: int | None
    """The number in If-Match."""


class Asker(Protocol):
    """The connection on which a plain request came."""

    def answer(self, content: bytes, media_type: str, request_id: str, etag: str | None = None) -> bool:
        """Send the answer, and return whether anybody is still there."""

    def go_ordinary_way(self, raw: bytes) -> None:
        """Have the request processed as any other."""


class Counter:
    """Takes plain requests of all connections of a process."""

    def __init__(
        self,
        known: Known,
        desk: Desk,
        telemetry: Telemetry,
        shadows: Shadows,
    ) -> None:
        self.known = known
        self.desk = desk
        self._telemetry, self._shadows = telemetry, shadows
        self.sessions: Sessions | None = None  # set when the process has started
        self._reader = inference.plain_reader(MOST_BYTES)
        self._heads: dict[tuple[str, str | None, int], bytes] = {}

    def take(self, asker: Asker, sender: Sender, asked: Asked, raw: bytes, end: int, begin: float) -> bool:
        """Take a request, whose head ends at `end`, to be answered at the end of this turn; False if not plain."""
        identity, form = sender
        if asked.path.startswith(b"/v1/sessions/"):
            return form == _JSON_ALONE and self._step(asker, identity, asked, raw, end, begin)
        target = self.known.target(identity.tenant, asked.path)
        if target is None:
            return False
        drawn = target.drawn()
        predictor = drawn.predictor
        read = self.read if form.takes == JSON else self._read_tensor
        plain = read(raw[end:], predictor.network.input_size, predictor.dtype)
        if plain is None or not is_small(predictor, plain.sequences):
            return False
        if form.gives != JSON and len({len(sequence) for sequence in plain.sequences}) > 1:
            return False
        replica = drawn.best if plain.replica is None else plain.replica
        if replica is None or replica >= predictor.replicas:
            return False

        def done(outputs: list[Any], _: object) -> None:
            if form.gives == JSON:
                content = answers.outputs_alone(self._head(drawn, replica), outputs)
            else:
                content = answers.as_safetensors(Answer(drawn.model, drawn.checkpoint, replica, outputs))
            self._answer(asker, content, form.gives, identity, asked.path.decode(), begin)
            if drawn.model is not None:
                self._telemetry.predicted(drawn.model, drawn.checkpoint)
            if drawn.shadow is not None:
                self._shadows.offer(drawn, plain.sequences, [output.copy() for output in outputs])

        self.desk.put(
            Errand(predictor, replica, plain.sequences, None, begin, done, lambda: asker.go_ordinary_way(raw))
        )
        return True

    def _step(self, asker: Asker, identity: Identity, asked: Asked, raw: bytes, end: int, begin: float) -> bool:
        sessions = self.sessions
        path = asked.path.decode()
        live = None if sessions is None else sessions.ready(identity.tenant, path.split("/")[3], asked.expected)
        if live is None:
            return False
        body = raw[end:]

        def done(content: bytes) -> None:
            self._answer(asker, content, JSON, identity, path, begin, tag(live.step))

        return self.step(live, body, begin, done, lambda: asker.go_ordinary_way(raw))

    def step(
        self, live: Live, body: bytes, begin: float, done: Callable[[bytes], None], failed: Callable[[], None]
    ) -> bool:
        """Do a session's next steps at the end of this turn; False if the body is not plain."""
        predictor, replica = live.target.predictor, live.session.replica
        if replica == "all" or not predictor.plain:
            return False
        plain = self.read(body, predictor.network.input_size, predictor.dtype)
        if plain is None or not plain.inputs_alone or not live.fits(plain.sequences):
            return False
        if not is_small(predictor, plain.sequences):
            return False
        asked, steps = (live.step, digest_of(body)), len(plain.sequences[0])

        def advance(outputs: list[Any], states: list[Any]) -> None:
            live.on_desk = False
            done(live.advance(asked, steps, outputs, states))

        def give_up() -> None:
            live.on_desk = False
            failed()

        live.on_desk = True
        self.desk.put(Errand(predictor, replica, plain.sequences, live.states, begin, advance, give_up))
        return True

    def read(self, body: bytes, width: int, dtype: Any) -> inference.Plain | None:
        """Return what a body says if it is plain."""
        if self._reader is not None:
            return self._reader.read(body, width, dtype)
        try:
            request: PredictRequest = validate(PredictRequest, body)
        except Refused:
            return None
        return inference.plain(inference.Asked.of(request), width, dtype)

    def _read_tensor(self, body: bytes, width: int, dtype: Any) -> inference.Plain | None:
        """Return what safetensors say if they are `inputs` alone."""
        try:
            found, about = tensors.read(body)
        except Refused:
            return None
        x = found.get("inputs")
        if x is None or len(found) > 1 or about.keys() - {"format"}:
            return None
        if x.ndim != 3 or x.shape[2] != width or x.dtype.kind != "f" or len(x) > MAX_PREDICT_SEQUENCES:
            return None
        with np.errstate(over="ignore"):
            x = x.astype(dtype)
        return inference.Plain(list(x), None, inputs_alone=True) if np.isfinite(x).all() else None

    def _answer(
        self,
        asker: Asker,
        content: bytes,
        media_type: str,
        identity: Identity,
        path: str,
        begin: float,
        etag: str | None = None,
    ) -> None:
        route = _ROUTES[path.split("/")[2]]
        request_id = new_id("req")
        status = 200 if asker.answer(content, media_type, request_id, etag) else GONE
        seconds = time.perf_counter() - begin
        self._telemetry.answered("POST", route, status, seconds)
        access("POST", path, status, request_id, route, seconds, identity.key_id)

    def _head(self, target: inference.Target, replica: int) -> bytes:
        key = target.checkpoint, target.model, replica
        found = self._heads.get(key)
        if found is None:
            if len(self._heads) >= 1000:
                self._heads.clear()
            found = self._heads[key] = answers.head(target.model, target.checkpoint, replica)
        return found
