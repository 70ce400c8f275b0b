"""/v1/jobs/{id}/events: a job's journal, as pages or as a live stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api import examples
from api.auth import Reader
from api.errors import invalid
from api.negotiation import JSON, preferred
from api.operations import operation
from api.service import CurrentService, Service
from api.streams import events
from store import journal
from store.keys import Identity
from unroll.contract import Event, Page

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

STREAM = "text/event-stream"
MAX_SEQ = 2**63 - 1


@router.get(
    "/{job_id}/events",
    response_model=Page[Event],
    **operation(
        "list_events",
        "A job's events",
        gives=(200, "A page, or with `Accept: text/event-stream` the events as they happen.", examples.EVENTS),
        or_as={STREAM: examples.EVENT_STREAM},
        also={204: {"description": "As a stream, with Last-Event-ID: the job has ended and there are no more events."}},
        problems=["missing_scope", "not_found"],
    ),
)
async def list_events(
    job_id: str,
    request: Request,
    asker: Reader,
    service: CurrentService,
    after: Annotated[int, Query(ge=0, le=MAX_SEQ, description="Only events with a greater `seq`.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    last_event_id: Annotated[str | None, Header(description="For a stream: continue after this `seq`.")] = None,
) -> Response:
    """Return a job's events. `seq` counts from 1 without gaps, so no event is missed over any number of connections.

    As a page, `next` is the `after` of the next page; it is null if the job has ended and no events follow. As a
    stream, `id` is the `seq`, `event` the type and `data` the event. Comments keep the stream alive, and it ends after
    the last `end`.
    """
    streamed = preferred(request.headers.get("accept"), [JSON, STREAM]) == STREAM
    if streamed and last_event_id is not None:
        if not (last_event_id.isascii() and last_event_id.isdecimal() and int(last_event_id) <= MAX_SEQ):
            raise invalid("#Last-Event-ID", "invalid", "The `id` of an event that this server sent.")
        after = int(last_event_id)
    if not streamed:
        found, closed = await run_in_threadpool(
            journal.read, service.db, asker.tenant, job_id, after=after, limit=limit
        )
        following = None if closed else str(found[-1].seq if found else after)
        return Response(Page[Event](data=found, next=following).model_dump_json(), media_type=JSON)
    head = await run_in_threadpool(journal.head, service.db, asker.tenant, job_id)
    if head.ended and head.seq <= after and last_event_id is not None:
        return Response(status_code=204)  # tells a browser's EventSource not to come back
    return CountedStream(
        service,
        asker,
        events(service, asker.key_id, job_id, head, after),
        media_type=STREAM,
        headers={"X-Accel-Buffering": "no"},  # a proxy that collects a buffer first would make it anything but live
    )


class CountedStream(StreamingResponse):
    """A stream that counts among those of its key and its tenant while it is open."""

    def __init__(self, service: Service, asker: Identity, content: AsyncIterator[bytes], **about: Any) -> None:
        """`content` and what is said about it are those of a StreamingResponse. Raises QuotaExceeded."""
        super().__init__(content, **about)
        self._release = partial(service.tallies.release, asker, "streams")
        service.tallies.take(asker, "streams")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. It counts until then, however it ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()
