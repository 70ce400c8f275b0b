"""/v1/sessions/{id}/ws: the steps of a session over one WebSocket, in order."""

from __future__ import annotations

import asyncio
import time

from starlette.concurrency import run_in_threadpool
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.errors import Refused, of_store, problem
from api.inference import require_few
from api.service import Service
from api.sessions import digest_of
from api.short_way.plain import Counter
from api.validation import validate
from store import keys
from store.errors import StoreError
from store.ids import new_id
from store.keys import Identity
from unroll.contract import StepRequest

PROTOCOL = "unroll.v1"
"""Name of the messages. A browser, which cannot send an Authorization header, offers `key.` and its key beside it."""
TRUSTED_SECONDS = 0.5
"""The key is looked up again before a message if it was looked up longer ago."""


async def talk(socket: WebSocket) -> None:
    """Do the steps that come as messages, one after another, and answer each with a message.

    A message is the body of a step, an answer its answer; the first answer is the session itself. What is wrong with a
    message is answered as a problem, and the session stays where it was. The next message is read when the answer was
    sent, so a client that does not read is not read from.
    """
    service: Service = socket.app.state.service
    counter: Counter = socket.app.state.counter
    session_id, request_id = socket.path_params["session_id"], new_id("req")
    asker = _Asker(service, _presented(socket))
    try:
        tenant = (await asker.identity()).tenant
        live = await service.sessions.find(tenant, session_id, None)
    except (Refused, StoreError) as error:
        refused = of_store(error)
        path = socket.url.path
        await socket.send_denial_response(
            problem(refused.code, refused.detail, request_id=request_id, instance=path, headers=refused.headers)
        )
        return
    await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
    await socket.send_text(live.shown().model_dump_json())
    try:
        while True:
            body = await _body(socket)
            try:
                tenant = (await asker.identity()).tenant
                answer = await _step(service, counter, tenant, session_id, body)
            except (Refused, StoreError) as error:
                answer = _message(of_store(error), request_id)
            await socket.send_text(answer.decode())
            if asker.gone:
                await socket.close(4401)
                return
    except WebSocketDisconnect:
        return


async def _step(service: Service, counter: Counter, tenant: str, session_id: str, body: bytes) -> bytes:
    """Do one message's steps, if it is plain together with others of this turn."""
    live = service.sessions.ready(tenant, session_id, None)
    if live is not None:
        answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def settle(content: bytes | None = None) -> None:
            if not answered.done():
                answered.set_result(content)

        if counter.step(live, body, time.perf_counter(), settle, settle) and (content := await answered) is not None:
            return content
    require_few(body)
    request: StepRequest = validate(StepRequest, body)
    return (await service.sessions.step(tenant, session_id, None, request.inputs, digest_of(body))).content


class _Asker:
    """The key of a socket, which is looked up again from time to time."""

    def __init__(self, service: Service, key: str | None) -> None:
        self._service, self._key = service, key
        self._found: Identity | None = None
        self._at = 0.0
        self.gone = False

    async def identity(self) -> Identity:
        """Return whose key it is. Refuses unauthorized, key_expired and missing_scope."""
        if self._found is None or time.monotonic() - self._at > TRUSTED_SECONDS:
            self.gone = True
            asked = time.monotonic()
            if self._key is None:
                raise Refused("unauthorized", "Send an API key as `Authorization: Bearer unroll_…`.")
            secret = self._service.settings.hash_secret
            self._found = await run_in_threadpool(keys.authenticate, self._service.db, secret, self._key)
            if "predict" not in self._found.scopes:
                raise Refused("missing_scope", "This needs a key with the scope predict.")
            self.gone, self._at = False, asked
        return self._found


def _presented(socket: WebSocket) -> str | None:
    scheme, _, key = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    offered = [name for name in socket.scope["subprotocols"] if name.startswith("key.")]
    return offered[0].removeprefix("key.") if offered else None


async def _body(socket: WebSocket) -> bytes:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text: str | None = message.get("text")
    return text.encode() if text is not None else bytes(message.get("bytes") or b"")


def _message(refused: Refused, request_id: str) -> bytes:
    """Return a refusal as a message."""
    content = problem(refused.code, refused.detail, request_id=request_id, errors=refused.errors)
    return b'{"problem":' + bytes(content.body) + b"}"


route = WebSocketRoute("/v1/sessions/{session_id}/ws", talk)
