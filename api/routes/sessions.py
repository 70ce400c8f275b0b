"""/v1/sessions: hidden states that the server keeps for live streams."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from api import answers, examples, inference, targets
from api.auth import Predictor
from api.bodies import json_body, read_content
from api.errors import invalid
from api.memory import CurrentMemory
from api.negotiation import JSON, SAFETENSORS, offers, preferred
from api.operations import operation
from api.routes.parameters import Cursor, Limit
from api.service import CurrentService
from api.sessions import digest_of, etag
from api.validation import validate
from store import sessions
from unroll.contract import NewSession, Page, Session, SessionState, StepRequest, StepResponse

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])
only_json = [offers(JSON)]


@router.post(
    "",
    response_model=Session,
    dependencies=only_json,
    **operation(
        "create_session",
        "Begin a live stream through a network",
        takes=(NewSession, examples.NEW_SESSION),
        gives=(201, "The session, at step 0.", examples.SESSION),
        problems=["missing_scope", "not_found", "no_checkpoint", "quota_exceeded"],
    ),
)
async def create_session(
    asker: Predictor,
    service: CurrentService,
    new: Annotated[NewSession, Depends(json_body(NewSession))],
    response: Response,
) -> Session:
    """Keep the hidden state of one or more sequences, so that their steps can be sent as they come.

    The session keeps the checkpoint that the model serves now, also if the model serves another one later.
    """
    find = targets.of_checkpoint if new.model is None else targets.of_model
    target = await run_in_threadpool(
        find, service.db, service.predictors, asker.tenant, new.model or new.checkpoint or ""
    )
    target = target.drawn()
    if target.predictor.network.architecture != "many_to_many":
        where = "/checkpoint" if new.model is None else "/model"
        architecture = target.predictor.network.architecture
        raise invalid(where, "no_stream", f"a session needs a many_to_many network, not {architecture}")
    replica = targets.replica_of(target, new.replica)
    live = await service.sessions.create(asker.tenant, asker.key_id, target, replica, new.sequences, new.ttl)
    response.headers["Location"] = f"/v1/sessions/{live.session.id}"
    response.headers["ETag"] = etag(live.step)
    return live.shown()


@router.get(
    "",
    dependencies=only_json,
    **operation(
        "list_sessions",
        "Sessions, newest first",
        gives=(200, "A page.", examples.SESSIONS),
        problems=["missing_scope"],
    ),
)
def list_sessions(asker: Predictor, service: CurrentService, limit: Limit = 50, cursor: Cursor = None) -> Page[Session]:
    """List your tenant's sessions that have not expired, each as it was saved last."""
    return sessions.list_(service.db, asker.tenant, limit=limit, cursor=cursor)


@router.get(
    "/{session_id}",
    dependencies=only_json,
    **operation(
        "get_session",
        "One session",
        gives=(200, "The session.", examples.SESSION),
        problems=["missing_scope", "not_found", "session_expired"],
    ),
)
async def get_session(session_id: str, asker: Predictor, service: CurrentService, response: Response) -> Session:
    """Return how many steps the session has done."""
    live = await service.sessions.find(asker.tenant, session_id, None)
    response.headers["ETag"] = etag(live.step)
    return live.shown()


@router.delete(
    "/{session_id}",
    dependencies=only_json,
    **operation(
        "delete_session",
        "End a session",
        gives=(204, "Deleted.", None),
        problems=["missing_scope", "not_found"],
    ),
)
async def delete_session(session_id: str, asker: Predictor, service: CurrentService) -> None:
    """Delete a session and its state."""
    await service.sessions.remove(asker.tenant, session_id)


@router.post(
    "/{session_id}/step",
    dependencies=only_json,
    response_model=StepResponse,
    **operation(
        "step_session",
        "Do the next steps",
        takes=(StepRequest, examples.STEP),
        gives=(200, "The outputs of these steps. The ETag is the number of steps done.", examples.STEPPED),
        problems=["missing_scope", "not_found", "session_expired", "step_out_of_order"],
    ),
)
async def step_session(
    session_id: str,
    asker: Predictor,
    service: CurrentService,
    request: Annotated[StepRequest, Depends(json_body(StepRequest, None, inference.require_few))],
    raw: Request,
    held: CurrentMemory,
    if_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Run each sequence's next step or steps from the state that the session keeps.

    With `If-Match`, the number of steps done in quotes, steps keep their order, and a request that is sent again gets
    the same answer. If another number is right, the answer is 412 with it as ETag. Steps after `durable_step` are lost
    if the server crashes: send them again from the number that the 412 names.
    """
    digest = digest_of(raw.state.content)
    stepped = await service.sessions.step(
        asker.tenant, session_id, _number(if_match), request.inputs, digest, held.take
    )
    raw.state.answered_by = asker, None
    return Response(stepped.content, media_type=JSON, headers={"ETag": etag(stepped.step)})


@router.post(
    "/{session_id}/fork",
    dependencies=only_json,
    response_model=Session,
    **operation(
        "fork_session",
        "Begin another session with the same state",
        gives=(201, "The new session.", examples.SESSION),
        problems=["missing_scope", "not_found", "session_expired", "quota_exceeded"],
    ),
)
async def fork_session(session_id: str, asker: Predictor, service: CurrentService, response: Response) -> Session:
    """Copy a session: both go on from the same state, each on its own."""
    live = await service.sessions.fork(asker.tenant, asker.key_id, session_id)
    response.headers["Location"] = f"/v1/sessions/{live.session.id}"
    response.headers["ETag"] = etag(live.step)
    return live.shown()


@router.get(
    "/{session_id}/state",
    response_model=SessionState,
    **operation(
        "get_session_state",
        "The hidden state",
        gives=(200, "The state of each sequence; as safetensors `layers.0.h [N, H]`, …", examples.SESSION_STATE),
        or_as={SAFETENSORS: None},
        problems=["missing_scope", "not_found", "session_expired"],
    ),
)
async def get_session_state(
    session_id: str, asker: Predictor, service: CurrentService, accept: Annotated[str | None, Header()] = None
) -> Response:
    """Return the hidden state of each sequence, as predict returns it."""
    media_type = preferred(accept, [JSON, SAFETENSORS])
    live = await service.sessions.find(asker.tenant, session_id, None)
    headers = {"ETag": etag(live.step)}
    if media_type == SAFETENSORS:
        return Response(inference.dump_states(live.states), media_type=SAFETENSORS, headers=headers)
    return Response(answers.states_json(live.states), media_type=JSON, headers=headers)


@router.put(
    "/{session_id}/state",
    dependencies=only_json,
    response_model=Session,
    **operation(
        "set_session_state",
        "Replace the hidden state",
        takes=(SessionState, examples.SESSION_STATE),
        gives=(200, "The session.", examples.SESSION),
        problems=["missing_scope", "not_found", "session_expired"],
    ),
)
async def set_session_state(
    session_id: str, asker: Predictor, service: CurrentService, raw: Request, held: CurrentMemory
) -> Session:
    """Replace the hidden state of every sequence, with JSON or with the safetensors that this path gives.

    The number of steps done does not change. The new state is durable when this answers.
    """
    with service.tallies.hold(asker, "held_bodies"):
        content = bytes(await read_content(raw, held, service.settings.max_body_bytes))
    if raw.headers.get("content-type", "").split(";")[0].strip().lower() == SAFETENSORS:
        try:
            states = inference.load_states(content)
        except inference.InputError as error:
            raise invalid(error.pointer, error.code, error.detail) from None
    else:
        posted: SessionState = validate(SessionState, content)
        states = [[layer.model_dump(exclude_none=True) for layer in state.layers] for state in posted.state]
    live = await service.sessions.set_states(asker.tenant, session_id, states)
    return live.shown()


def _number(if_match: str | None) -> int | None:
    """Return the number of steps in If-Match; None if there is none."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = re.fullmatch(r'\s*"([0-9]{1,18})"\s*', if_match)
    if found is None:
        raise invalid("#If-Match", "not_a_step", 'If-Match is the number of steps done, in quotes, for example "12".')
    return int(found[1])
