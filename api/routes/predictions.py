"""/v1/models/{name}/predict and /v1/checkpoints/{id}/predict: sequences through trained networks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from api import answers, bodies, examples, inference, targets, tensors
from api.auth import Predictor
from api.inference import Asked
from api.memory import CurrentMemory, Held
from api.negotiation import JSON, NPY, SAFETENSORS, offers, preferred
from api.operations import operation
from api.service import CurrentService
from api.validation import Content
from unroll.contract import PredictRequest, PredictResponse

TYPES = (JSON, SAFETENSORS, NPY)
IN_TENSORS = """As safetensors, a request has the tensor `inputs` [N, T, I], perhaps `lengths` [N] for sequences that
are filled up to T steps, and states `state.layers.0.h` [N, H]; options are texts in `__metadata__` (`return` with
commas between). The answer has `outputs` [N, T, O] ([N, R, T, O] for all replicas), `lengths` if they are filled up,
`hidden`, `interval.lower`, `state.layers.0.h`, and says in `__metadata__` what answered. As npy, a request is one array
[T, I] or [N, T, I], and the answer is the outputs alone. Without an Accept header the answer has the request's type.
Numbers that overflowed are null in JSON, and inf or nan in the others."""

router = APIRouter(prefix="/v1", dependencies=[offers(*TYPES)])


def _json(content: Content, held: Held) -> Asked:
    return Asked.of(_read(content, held))


_read = bodies.json_reader(PredictRequest, inference.require_few)
_body = bodies.body({JSON: _json, SAFETENSORS: tensors.safetensors, NPY: tensors.npy}, None)
Posted = Annotated[Asked, Depends(_body)]


def _described(operation_id: str, through: str, *problems: Any) -> dict[str, Any]:
    return operation(
        operation_id,
        f"Run sequences through a {through}",
        takes=(PredictRequest, examples.PREDICT),
        takes_too=TYPES[1:],
        gives=(200, f"One entry for each sequence. {IN_TENSORS}", examples.PREDICTED),
        or_as=dict.fromkeys(TYPES[1:]),
        problems=["missing_scope", "not_found", *problems],
    )


@router.post(
    "/models/{name}/predict",
    tags=["models"],
    response_model=PredictResponse,
    **_described("predict_with_model", "model", "no_checkpoint"),
)
def predict_with_model(
    name: str, asker: Predictor, service: CurrentService, held: CurrentMemory, asked: Posted, raw: Request
) -> Response:
    """Run sequences through a model, or NAME@ALIAS. They may have different lengths.

    If a returned state is sent with the following steps, the network continues exactly where it stopped.
    """
    target = targets.of_model(service.db, service.predictors, asker.tenant, name, reserve=held.take)
    drawn = target.drawn()
    response = _response(raw, inference.predict(drawn, asked, held, service.shadows), held)
    service.telemetry.predicted(name, drawn.checkpoint)
    raw.state.answered_by = asker, (raw.url.path, target)
    return response


@router.post(
    "/checkpoints/{checkpoint_id}/predict",
    tags=["checkpoints"],
    response_model=PredictResponse,
    **_described("predict_with_checkpoint", "checkpoint"),
)
def predict_with_checkpoint(
    checkpoint_id: str, asker: Predictor, service: CurrentService, held: CurrentMemory, asked: Posted, raw: Request
) -> Response:
    """Run sequences through a checkpoint, as through a model.

    `best` is the checkpoint's own best replica. A checkpoint that was not evaluated has none.
    """
    target = targets.of_checkpoint(service.db, service.predictors, asker.tenant, checkpoint_id, reserve=held.take)
    response = _response(raw, inference.predict(target, asked, held), held)
    raw.state.answered_by = asker, (raw.url.path, target)
    return response


def _response(raw: Request, answer: answers.Answer, held: Held) -> Response:
    own = bodies.media_type(raw.headers.get("content-type"), TYPES)
    wanted = preferred(raw.headers.get("accept"), sorted(TYPES, key=lambda one: one != own))
    return Response(answers.written(answer, wanted, held), media_type=wanted)
