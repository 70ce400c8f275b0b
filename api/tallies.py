"""Counts what keys and tenants do at this moment: requests, open streams, and bodies that arrive.

The counts are in memory, for each API process alone: no request costs the database a write.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from store.errors import QuotaExceeded
from store.keys import Identity
from unroll.contract import Limits

Held = Literal["streams", "held_bodies"]
Owner = tuple[str, str]
"""("key", its id), or ("tenant", its name)."""
MINUTE = 60.0
WORDS: dict[Held, str] = {"streams": "open event streams", "held_bodies": "bodies that arrive at once"}


@dataclass
class Bucket:
    """What is left of the requests of a minute: it fills steadily, up to the limit."""

    left: float
    at: float


class Tallies:
    """The counts of one API process. They may be used from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has happened yet."""
        self._clock = clock
        self._lock = threading.Lock()
        self._held: Counter[tuple[Owner, Held]] = Counter()
        self._buckets: dict[Owner, Bucket] = {}
        self._cleaned = clock()

    def request(self, who: Identity) -> None:
        """Count a request. Raises QuotaExceeded, and counts nothing, if the key or its tenant has had too many."""
        with self._lock:
            found = []
            for owner, limits in owners(who):
                if (most := limits.requests_per_minute) is None:
                    self._buckets.pop(owner, None)
                    continue
                bucket = self._filled(owner, most)
                if bucket.left < 1:
                    raise QuotaExceeded(
                        f"This {owner[0]} may make {most:,} requests in a minute.",
                        limit="requests_per_minute",
                        seconds=math.ceil((1 - bucket.left) * 60 / most),
                    )
                found.append(bucket)
            for bucket in found:
                bucket.left -= 1

    @contextmanager
    def hold(self, who: Identity, what: Held) -> Iterator[None]:
        """Count one more while the block runs. Raises QuotaExceeded if the key or its tenant has as many as it may."""
        self.take(who, what)
        try:
            yield
        finally:
            self.release(who, what)

    def take(self, who: Identity, what: Held) -> None:
        """Count one more until it is released. Raises QuotaExceeded, and counts nothing."""
        with self._lock:
            for owner, limits in owners(who):
                most = getattr(limits, what)
                if most is not None and self._held[owner, what] >= most:
                    raise QuotaExceeded(f"This {owner[0]} may have {most:,} {WORDS[what]}.", limit=what)
            for owner, _ in owners(who):
                self._held[owner, what] += 1

    def release(self, who: Identity, what: Held) -> None:
        """Count one less."""
        with self._lock:
            for owner, _ in owners(who):
                self._held[owner, what] -= 1
                if not self._held[owner, what]:
                    del self._held[owner, what]

    def used(self, who: Identity) -> tuple[dict[str, int], dict[str, int]]:
        """Return what the key and what its tenant uses, by the limits' names. Requests count only where limited."""
        with self._lock:
            found: list[dict[str, int]] = []
            for owner, limits in owners(who):
                said = {"streams": self._held[owner, "streams"], "held_bodies": self._held[owner, "held_bodies"]}
                if (most := limits.requests_per_minute) is not None:
                    said["requests_per_minute"] = math.ceil(most - self._filled(owner, most).left)
                found.append(said)
        return found[0], found[1]

    def _filled(self, owner: Owner, most: int) -> Bucket:
        now = self._clock()
        if now - self._cleaned > MINUTE:  # a bucket that nobody took from for a minute is full, as a new one
            self._cleaned = now
            self._buckets = {one: bucket for one, bucket in self._buckets.items() if now - bucket.at < MINUTE}
        bucket = self._buckets.setdefault(owner, Bucket(most, now))
        bucket.left = min(most, bucket.left + (now - bucket.at) * most / 60)
        bucket.at = now
        return bucket


def owners(who: Identity) -> tuple[tuple[Owner, Limits], tuple[Owner, Limits]]:
    """Return whose limits hold for a request: its key's and its tenant's."""
    return (("key", who.key_id), who.limits), (("tenant", who.tenant), who.tenant_limits)
