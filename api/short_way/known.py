"""Remembers for a moment what the ordinary way found out about a request's head."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from api.inference import Target
from store.keys import Identity

FRESH_SECONDS = 0.5
"""From this age on one request goes the ordinary way, and what it finds is remembered anew."""
LONGEST_SECONDS = 1.0
"""Age at which a head is forgotten: a key that another process revoked is refused after this time."""
MOST = 4096


class Head(NamedTuple):
    """A request's head on the ordinary way, before anything is known about it."""

    digest: bytes
    """Keyed hash of the head without the length of its body."""
    generation: int
    came: float
    """time.monotonic() when the request came."""


@dataclass(slots=True)
class Answerer:
    """Who asks, and what answers: enough for a plain request with this head."""

    identity: Identity
    target: Target
    came: float
    until: float
    asked_again: bool = field(default=False)


class Known:
    """Heads of plain requests and what answers them. Used by the event loop's thread alone.

    Changes that this process makes to keys, models and checkpoints call `forget`. Other processes' changes are seen
    after LONGEST_SECONDS.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._answerers: OrderedDict[bytes, Answerer] = OrderedDict()

    def find(self, digest: bytes) -> Answerer | None:
        """Return what answers a request with this head, or None if it has to go the ordinary way."""
        found = self._answerers.get(digest)
        if found is None:
            return None
        now = time.monotonic()
        if now >= found.until:
            del self._answerers[digest]
            return None
        if now - found.came >= FRESH_SECONDS and not found.asked_again:
            found.asked_again = True
            return None
        return found

    def learn(self, head: Head, identity: Identity, target: Target) -> None:
        """Remember what the ordinary way found, unless something was changed since the request came."""
        if head.generation != self.generation or not target.predictor.plain:
            return
        until = head.came + LONGEST_SECONDS
        if identity.seconds_left is not None:
            until = min(until, head.came + identity.seconds_left)
        self._answerers[head.digest] = Answerer(identity, target, head.came, until)
        self._answerers.move_to_end(head.digest)
        now = time.monotonic()
        while self._answerers:  # those that were learned first are forgotten first, with their networks
            oldest = next(iter(self._answerers))
            if len(self._answerers) <= MOST and now < self._answerers[oldest].until:
                break
            del self._answerers[oldest]

    def forget(self) -> None:
        """Forget everything, also what requests that are on the ordinary way now will find."""
        self.generation += 1
        self._answerers.clear()


def changes_answers(method: str, path: str) -> bool:
    """Return whether a request may change whose key is good, or what answers a path."""
    if method in {"GET", "HEAD", "OPTIONS"} or path.endswith("/predict"):
        return False
    return method == "DELETE" or path.startswith(("/v1/keys", "/v1/models", "/v1/checkpoints"))
