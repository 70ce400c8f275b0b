"""Remembers for a moment what the ordinary way found out: whose key a request's head has, and what answers a path."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from api.inference import Target
from api.negotiation import JSON
from store.keys import Identity

FRESH_SECONDS = 0.5
"""From this age on one request goes the ordinary way, and what it finds is remembered anew."""
LONGEST_SECONDS = 1.0
"""Age at which something is forgotten: a key that another process revoked is refused after this time."""
MOST = 4096

Value = TypeVar("Value")


class Form(NamedTuple):
    """The media types that a head names."""

    takes: str
    """Of the body."""
    gives: str
    """Of the answer."""


class Sender(NamedTuple):
    """What a known head says."""

    identity: Identity
    form: Form


class Head(NamedTuple):
    """A request's head on the ordinary way, before it is known whose it is."""

    digest: bytes
    """Keyed hash of the head without what differs from request to request: path, length of the body, If-Match."""
    generation: int
    came: float
    """time.monotonic() when the request came."""
    form: Form = Form(JSON, JSON)


@dataclass(slots=True)
class _Kept(Generic[Value]):
    value: Value
    came: float
    until: float
    asked_again: bool = False


class _Memory(Generic[Value]):
    """Values that are found for LONGEST_SECONDS after the request came that brought them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept[Value]] = OrderedDict()

    def find(self, key: Hashable, now: float) -> Value | None:
        """Return the value, or None if it has to be found out again."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now >= kept.until:
            del self._kept[key]
            return None
        if now - kept.came >= FRESH_SECONDS and not kept.asked_again:
            kept.asked_again = True
            return None
        return kept.value

    def learn(self, key: Hashable, value: Value, came: float, seconds: float) -> None:
        """Remember a value. What came first is forgotten first."""
        self._kept[key] = _Kept(value, came, came + seconds)
        self._kept.move_to_end(key)
        now = time.monotonic()
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) <= MOST and now < self._kept[oldest].until:
                break
            del self._kept[oldest]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


class Known:
    """Whose key a plain head has, and what answers a path for a tenant. Used by the event loop's thread alone.

    Changes that this process makes to keys, models and checkpoints call `forget`. Other processes' changes are seen
    after LONGEST_SECONDS.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._senders: _Memory[Sender] = _Memory()
        self._targets: _Memory[Target] = _Memory()

    def sender(self, digest: bytes) -> Sender | None:
        """Return whose key it is and which types are named, or None if the request has to go the ordinary way."""
        return self._senders.find(digest, time.monotonic())

    def target(self, tenant: str, path: bytes) -> Target | None:
        """Return what answers this path, or None if the request has to go the ordinary way."""
        return self._targets.find((tenant, path), time.monotonic())

    def learn(self, head: Head, identity: Identity, answers: tuple[str, Target] | None = None) -> None:
        """Remember what the ordinary way found, unless something was changed since the request came.

        `answers` is a path and what answers it for the tenant.
        """
        if head.generation != self.generation or _counted(identity):
            return
        left = identity.seconds_left
        self._senders.learn(
            head.digest, Sender(identity, head.form), head.came, min(LONGEST_SECONDS, left or LONGEST_SECONDS)
        )
        if answers is not None and answers[1].predictor.plain:
            path, target = answers
            self._targets.learn((identity.tenant, path.encode()), target, head.came, LONGEST_SECONDS)

    def forget(self) -> None:
        """Forget everything, also what requests that are on the ordinary way now will find."""
        self.generation += 1
        self._senders.clear()
        self._targets.clear()


def _counted(identity: Identity) -> bool:
    """Return whether each of the key's requests has to be counted, which only the ordinary way does."""
    limits = identity.limits, identity.tenant_limits
    return any(one.requests_per_minute is not None or one.held_bodies is not None for one in limits)


def changes_answers(method: str, path: str) -> bool:
    """Return whether a request may change whose key is good, or what answers a path."""
    if method in {"GET", "HEAD", "OPTIONS"} or path.endswith("/predict"):
        return False
    return method == "DELETE" or path.startswith(("/v1/keys", "/v1/models", "/v1/checkpoints"))
