"""/v2: the Open Inference Protocol, for clients that speak it. A model's versions are ids of checkpoints."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from api import inference, open_inference, targets
from api.auth import Predictor
from api.bodies import read_content
from api.errors import invalid
from api.inference import Target
from api.memory import CurrentMemory, parsed_bytes
from api.service import CurrentService, Service
from store import checkpoints, models
from store.errors import NoCheckpoint, NotFound
from store.keys import Identity
from unroll.contract import Network, Returnable

# The protocol describes itself: these routes are in its specification, not in this server's document.
router = APIRouter(prefix="/v2", include_in_schema=False)


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Say that the process runs."""
    return {"live": True}


@router.get("/health/ready")
async def ready() -> dict[str, bool]:
    """Say that the server takes requests; /readyz says more."""
    return {"ready": True}


@router.get("")
async def server_metadata(request: Request) -> dict[str, Any]:
    """Describe the server."""
    return {"name": "unroll", "version": request.app.version, "extensions": open_inference.EXTENSIONS}


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}")
def model_metadata(name: str, asker: Predictor, service: CurrentService, version: str | None = None) -> dict[str, Any]:
    """Describe a model's tensors."""
    target = _target(service, asker, name, version)
    network, kind = target.predictor.network, "FP64" if target.predictor.dtype == np.float64 else "FP32"
    width = 1 if network.vocabulary_size is not None else network.input_size
    hidden = {"name": "hidden", "datatype": kind, "shape": [-1, -1, network.cell.hidden_size]}
    return {
        "name": name,
        "versions": [target.checkpoint],
        "platform": "unroll",
        "inputs": [
            {"name": "inputs", "datatype": kind, "shape": [-1, -1, width]},
            {"name": "lengths", "datatype": "INT64", "shape": [-1], "optional": True},
        ],
        "outputs": [{"name": "outputs", "datatype": kind, "shape": _output_shape(network)}, hidden],
    }


@router.get("/models/{name}/ready")
@router.get("/models/{name}/versions/{version}/ready")
def model_ready(name: str, asker: Predictor, service: CurrentService, version: str | None = None) -> Response:
    """Answer 200 if the model can be asked, otherwise 400."""
    try:
        _target(service, asker, name, version)
    except (NotFound, NoCheckpoint):
        return Response(status_code=400)
    return Response()


@router.post("/models/{name}/infer")
@router.post("/models/{name}/versions/{version}/infer")
async def infer(
    name: str,
    asker: Predictor,
    service: CurrentService,
    raw: Request,
    held: CurrentMemory,
    version: str | None = None,
    header_length: Annotated[str | None, Header(alias=open_inference.HEADER_LENGTH)] = None,
) -> Response:
    """Run a batch of sequences, or the next steps of one that parameters name (sequence_id, _start, _end)."""
    with service.tallies.hold(asker, "held_bodies"):
        content = bytes(await read_content(raw, held, service.settings.max_body_bytes))
    if header_length is None:
        inference.require_few(content)
        held.take(parsed_bytes(content))
    request, tensors = await run_in_threadpool(open_inference.read, content, header_length)
    target = await run_in_threadpool(_target, service, asker, name, version)
    given, single = open_inference.sequences(tensors, target.predictor.network)
    asked: set[Returnable] = {one.name for one in open_inference.wanted(request)}
    replica = targets.replica_of(target, open_inference.replica(request))
    sequence = open_inference.sequence_of(request)
    if sequence is not None:
        if asked != {"outputs"}:
            raise invalid("/outputs", "contradiction", "a sequence gives outputs alone")
        found = {"outputs": await _step(service, asker, target, name, replica, sequence, given)}
    else:
        found = await run_in_threadpool(
            inference.run, target, given, "all" if replica is None else replica, asked, held
        )
    axis = 0 if replica is not None else 1
    # a network with one output has no axis of time
    once = target.predictor.network.architecture in {"many_to_one", "one_to_one"}
    arrays = {
        tensor: open_inference.together(several, single=single, axis=0 if once and tensor == "outputs" else axis)
        for tensor, several in found.items()
    }
    body, headers, media_type = open_inference.answer(request, name, target.checkpoint, arrays)
    return Response(body, media_type=media_type, headers=headers)


async def _step(
    service: Service,
    asker: Identity,
    target: Target,
    name: str,
    replica: int | None,
    sequence: tuple[str, bool, bool],
    given: list[Any],
) -> list[Any]:
    """Do the next steps of the session that a sequence_id names."""
    correlation, start, end = sequence
    live = await service.sessions.correlated(
        asker.tenant, asker.key_id, target, replica, len(given), (name, correlation), start=start
    )
    stepped = await service.sessions.step(asker.tenant, live.session.id, None, given, b"")
    if end:
        await service.sessions.remove(asker.tenant, live.session.id)
    return stepped.outputs


def _target(service: Service, asker: Identity, name: str, version: str | None) -> Target:
    """Return what answers for a model, or for one of its checkpoints. Raises NotFound and NoCheckpoint."""
    if version is None:
        return targets.of_model(service.db, service.predictors, asker.tenant, name)
    network = models.get(service.db, asker.tenant, name).config
    try:
        target = targets.of_checkpoint(service.db, service.predictors, asker.tenant, version, name)
    except NotFound:
        raise open_inference.no_version(version) from None
    if checkpoints.get(service.db, asker.tenant, version).network != network:
        raise open_inference.no_version(version)
    return target


def _output_shape(network: Network) -> list[int]:
    once = network.architecture in {"many_to_one", "one_to_one"}
    return [-1, network.output_size] if once else [-1, -1, network.output_size]
