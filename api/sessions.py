"""Live sessions: hidden states that this process keeps in memory between requests, and saves a moment later.

All of it runs on the event loop; only the database and runs of networks are left to threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Literal, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from starlette.concurrency import run_in_threadpool

from api import answers, inference
from api.errors import Refused, invalid
from api.inference import Array, LayerStates, Target
from store import sessions as store
from store.db import Database
from store.errors import DatabaseUnavailable, NotFound
from store.ids import new_id
from store.sessions import Owned, Saved
from unroll.contract import Returnable, Session

SAVE_SECONDS = 0.5
"""Interval at which sessions are saved: what a crash of this process loses at most."""
HANDOVER_SECONDS = 3 * SAVE_SECONDS
"""Longest wait for another process to save the steps that a client knows to be done."""
IDLE_SECONDS = 60.0
"""A session that is saved and was silent for this time leaves the memory; the next step reads it again."""
CORRELATED_SECONDS = 3600.0
"""Seconds after which a session expires that a client of the Open Inference Protocol has started."""

logger = logging.getLogger("unroll.api")


class OutOfOrder(Refused):
    """The session is at another step than the client believes."""

    def __init__(self, live: Live, expected: int) -> None:
        super().__init__(
            "step_out_of_order",
            f"If-Match says {expected:,} steps are done, but the session has done {live.step:,}"
            f" ({live.durable_step:,} of them durable). Go on from there.",
            headers={"ETag": etag(live.step)},
        )


@dataclass(slots=True)
class Live:
    """A session that this process owns."""

    session: Session
    tenant: str
    epoch: int
    target: Target
    step: int
    durable_step: int
    states: list[LayerStates]
    """Of each sequence."""
    asked: tuple[int, bytes] | None
    """Steps before the last request, and the hash of its body."""
    content: bytes | None
    """The last answer."""
    until: float
    """time.monotonic() at which it expires."""
    used: float = field(default_factory=time.monotonic)
    finite: bool = True
    """Whether every state is a number; a session that overflowed is left to the validation of states."""
    on_desk: bool = False
    """Whether a run waits for the end of the turn."""
    version: int = 0
    """Counts changes, so that a save knows whether it saved the newest."""
    saved_version: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def free(self) -> bool:
        """Whether a step can be done at once."""
        return not self.on_desk and not self.lock.locked() and time.monotonic() < self.until

    def fits(self, sequences: list[Array]) -> bool:
        """Return whether these are the next steps of each sequence."""
        return len(sequences) == self.session.sequences and len({len(sequence) for sequence in sequences}) == 1

    def advance(self, asked: tuple[int, bytes], steps: int, outputs: list[Any], states: list[LayerStates]) -> bytes:
        """Take the states after some steps, and return the answer."""
        self.states = [[{name: state.copy() for name, state in layer.items()} for layer in one] for one in states]
        self.finite = all(_finite(state) for one in self.states for layer in one for state in layer.values())
        self.step += steps
        begin = b'{"step":%d,"durable_step":%d' % (self.step, self.durable_step)
        self.content = answers.outputs_alone(begin, outputs)
        self.asked = asked
        self.changed()
        return self.content

    def changed(self) -> None:
        """Note that there is something to save."""
        self.version += 1
        self.used = time.monotonic()
        self.until = self.used + self.session.ttl

    def repeated(self, expected: int | None, digest: bytes) -> bytes | None:
        """Return the last answer if it was to this very request, whose answer the client did not get."""
        return self.content if expected is not None and self.asked == (expected, digest) else None

    def shown(self) -> Session:
        """Return the session as it is now."""
        left = max(self.until - time.monotonic(), 0.0)
        return self.session.model_copy(
            update={
                "step": self.step,
                "durable_step": self.durable_step,
                "expires_at": _in_seconds(left),
            }
        )

    def saved(self) -> Saved:
        """Return what is to be saved."""
        at, digest = self.asked or (None, None)
        state = inference.dump_states(self.states)
        return Saved(self.session.id, self.epoch, self.step, state, at, digest, self.content)


class Stepped(NamedTuple):
    """What a session's steps gave."""

    content: bytes
    """The answer as JSON."""
    step: int
    """Number of steps done."""
    outputs: list[Array]
    """Of each sequence; empty if an earlier answer was repeated."""


class Sessions:
    """The sessions of one API process."""

    def __init__(
        self, db: Database, load: Callable[[str, str, str | None], Target], settle: Callable[[], None]
    ) -> None:
        """`load` returns what a checkpoint of a tenant answers with: (tenant, checkpoint, model's name).

        `settle` runs at once what waits for the end of the turn.
        """
        self.owner = new_id("api")
        self._db, self._load, self._settle = db, load, settle
        self._live: dict[str, Live] = {}
        self._loading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # as long as somebody waits
        self._saver: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many sessions are in memory."""
        return len(self._live)

    def start(self) -> None:
        """Begin to save."""
        self._saver = asyncio.get_running_loop().create_task(self._save_for_ever())

    async def close(self) -> None:
        """Save everything once more."""
        if self._saver is not None:
            self._saver.cancel()
        try:
            await self._save()
        except DatabaseUnavailable:
            logger.exception("sessions were not saved at the end")

    def ready(self, tenant: str, session_id: str, expected: int | None) -> Live | None:
        """Return a session whose next step can be done at once; None: it has to be found."""
        live = self._live.get(session_id)
        if live is None or live.tenant != tenant or not live.free or not live.finite:
            return None
        return live if expected is None or expected == live.step else None

    async def create(
        self, tenant: str, key_id: str, target: Target, replica: int | None, sequences: int, ttl: float
    ) -> Live:
        """Create a session at the network's own start."""
        return await self._created(tenant, key_id, target, replica, sequences, ttl, 0, None)

    async def fork(self, tenant: str, key_id: str, session_id: str) -> Live:
        """Create another session with the same state."""
        live = await self.find(tenant, session_id, None)
        async with live.lock:
            replica = None if live.session.replica == "all" else live.session.replica
            state = live.saved().state
            return await self._created(
                tenant, key_id, live.target, replica, live.session.sequences, live.session.ttl, live.step, state
            )

    async def _created(
        self,
        tenant: str,
        key_id: str,
        target: Target,
        replica: int | None,
        sequences: int,
        ttl: float,
        step: int,
        state: bytes | None,
        correlation: tuple[str, str] | None = None,
    ) -> Live:
        owned = await run_in_threadpool(
            store.create,
            self._db,
            tenant,
            key_id,
            self.owner,
            model=target.model,
            checkpoint=target.checkpoint,
            replica=replica,
            sequences=sequences,
            ttl=ttl,
            step=step,
            state=state,
            correlation=correlation,
        )
        return self._keep(tenant, target, owned)

    async def find(self, tenant: str, session_id: str, expected: int | None) -> Live:
        """Return the session, owned by this process. Raises NotFound and SessionExpired.

        If the client knows of more steps than are here, another process may have done them.
        """
        async with self._loading.setdefault(session_id, asyncio.Lock()):
            return await self._find(tenant, session_id, expected)

    async def _find(self, tenant: str, session_id: str, expected: int | None) -> Live:
        live = self._live.get(session_id)
        if live is not None and live.tenant != tenant:
            raise NotFound(f"There is no session {session_id}.")
        end = time.monotonic() + HANDOVER_SECONDS
        while True:
            if live is not None and (expected is None or expected <= live.step) and time.monotonic() < live.until:
                return live
            seen = await run_in_threadpool(store.look, self._db, tenant, session_id)
            if live is not None and seen.epoch == live.epoch:
                return live
            # another process may have done steps that it saves in a moment
            done = seen.step >= expected if expected is not None else time.monotonic() > end - SAVE_SECONDS
            if done or seen.owner == self.owner or time.monotonic() > end:
                break
            await asyncio.sleep(SAVE_SECONDS / 10)
        owned = await run_in_threadpool(store.take, self._db, tenant, session_id, self.owner)
        session = owned.session
        target = await run_in_threadpool(self._load, tenant, session.checkpoint, session.model)
        return self._keep(tenant, target, owned)

    def _keep(self, tenant: str, target: Target, owned: Owned) -> Live:
        saved = owned.saved
        asked = None
        if saved.asked_at is not None and saved.asked_hash is not None:
            asked = saved.asked_at, saved.asked_hash
        states = (
            target.predictor.initial_states(owned.session.sequences, owned.session.replica)
            if saved.state is None
            else inference.load_states(saved.state)
        )
        live = Live(
            owned.session,
            tenant,
            saved.epoch,
            target,
            saved.step,
            saved.step,
            states,
            asked,
            saved.answer,
            time.monotonic() + owned.seconds_left,
        )
        self._live[owned.session.id] = live
        return live

    async def correlated(
        self,
        tenant: str,
        key_id: str,
        target: Target,
        replica: int | None,
        sequences: int,
        correlation: tuple[str, str],
        *,
        start: bool,
    ) -> Live:
        """Return the session that a client has named itself, for one model; with `start` a new one.

        Refuses validation_failed if it was not started.
        """
        if start:
            return await self._created(
                tenant, key_id, target, replica, sequences, CORRELATED_SECONDS, 0, None, correlation
            )
        named = await run_in_threadpool(store.named, self._db, tenant, *correlation)
        if named is None:
            detail = "this sequence has not been started, or has ended: send sequence_start first"
            raise invalid("/parameters/sequence_id", "not_started", detail)
        return await self.find(tenant, named, None)

    async def step(
        self,
        tenant: str,
        session_id: str,
        expected: int | None,
        inputs: Sequence[Any],
        digest: bytes,
        reserve: Callable[[int], None] = lambda _bytes: None,
    ) -> Stepped:
        """Do the next steps of each sequence, [T, I] as an array or as lists.

        The same request with the same If-Match gives the same answer. Raises NotFound, SessionExpired, OutOfOrder;
        refuses validation_failed with a pointer.
        """
        live = await self.find(tenant, session_id, expected)
        async with live.lock:
            if live.on_desk:
                self._settle()
            before = live.repeated(expected, digest)
            if before is not None:
                return Stepped(before, live.step, [])
            if expected is not None and expected != live.step:
                raise OutOfOrder(live, expected)
            self._check(live, inputs)
            replica: int | Literal["all"] = live.session.replica
            wanted: frozenset[Returnable] = frozenset({"outputs", "state"})
            try:
                found = await run_in_threadpool(
                    live.target.predictor.predict, inputs, live.states, replica, wanted, None, reserve
                )
            except inference.InputError as error:
                raise invalid(error.pointer, error.code, error.detail) from None
            outputs = found.outputs or []
            content = live.advance((live.step, digest), len(inputs[0]), outputs, found.state or [])
            return Stepped(content, live.step, outputs)

    def _check(self, live: Live, inputs: Sequence[Any]) -> None:
        count = live.session.sequences
        if len(inputs) != count:
            detail = f"the session has {count} sequences, and each takes its next steps"
            raise invalid("/inputs", "wrong_length", f"{len(inputs)} sequences: {detail}")
        lengths = [len(sequence) for sequence in inputs]
        for i, length in enumerate(lengths):
            if length != lengths[0]:
                raise invalid(f"/inputs/{i}", "wrong_length", f"{length} steps, but sequence 0 takes {lengths[0]}")

    async def set_states(self, tenant: str, session_id: str, states: list[Any]) -> Live:
        """Replace the hidden state, and save it. Refuses validation_failed with a pointer."""
        live = await self.find(tenant, session_id, None)
        async with live.lock:
            if live.on_desk:
                self._settle()
            try:
                checked = live.target.predictor.checked_states(states, live.session.sequences, live.session.replica)
            except inference.InputError as error:
                raise invalid(error.pointer, error.code, error.detail) from None
            live.states, live.finite, live.asked, live.content = checked, True, None, None
            live.changed()
            await self._save()
        return live

    async def remove(self, tenant: str, session_id: str) -> None:
        """Delete a session. Raises NotFound."""
        await run_in_threadpool(store.remove, self._db, tenant, session_id)
        self._live.pop(session_id, None)

    async def _save_for_ever(self) -> None:
        cleaned = time.monotonic()
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            try:
                await self._save()
                if time.monotonic() - cleaned > IDLE_SECONDS:
                    cleaned = time.monotonic()
                    await run_in_threadpool(store.forget_expired, self._db)
            except DatabaseUnavailable as error:
                logger.warning("sessions are not saved: %s", error.detail)
            except Exception:
                logger.exception("sessions are not saved")

    async def _save(self) -> None:
        changed = [live for live in self._live.values() if live.version != live.saved_version]
        if changed:
            versions = [live.version for live in changed]
            several = [live.saved() for live in changed]
            lost = await run_in_threadpool(store.save, self._db, several)
            for live, version, saved in zip(changed, versions, several, strict=True):
                if saved.id in lost:
                    if self._live.get(saved.id) is live:
                        del self._live[saved.id]
                    continue
                live.saved_version = max(live.saved_version, version)
                live.durable_step = max(live.durable_step, saved.step)
        now = time.monotonic()
        for session_id, live in list(self._live.items()):
            idle = now - live.used > IDLE_SECONDS or now > live.until
            if idle and live.version == live.saved_version and (live.free or now > live.until):
                del self._live[session_id]


def _finite(state: Array) -> bool:
    return bool(np.isfinite(state).all())


def _in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def digest_of(body: bytes) -> bytes:
    """Return the hash by which a repeated request is known."""
    return blake2b(body, digest_size=16).digest()


def etag(step: int) -> str:
    """Return the number of steps done as an entity tag."""
    return f'"{step}"'
