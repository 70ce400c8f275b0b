"""/v1/tasks: the tasks that networks can be trained on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from api import catalogue, examples
from api.auth import Reader
from api.bodies import json_body
from api.memory import CurrentMemory
from api.negotiation import JSON, offers
from api.operations import operation
from unroll.contract import Page, SampleRequest, SampleResponse, Task

Parameters = Annotated[
    str,
    Query(
        max_length=2_000,
        description="The task's parameters, as a JSON object. Missing ones have defaults.",
        json_schema_extra={"contentMediaType": "application/json"},
    ),
]
router = APIRouter(prefix="/v1/tasks", tags=["tasks"], dependencies=[offers(JSON)])


@router.get(
    "",
    **operation(
        "list_tasks",
        "The built-in tasks",
        gives=(200, "All of them.", examples.TASKS),
        problems=["missing_scope"],
    ),
)
def list_tasks(_asker: Reader) -> Page[Task]:
    """List the tasks, each with the JSON Schema of its parameters and its exact baseline loss."""
    return Page[Task](data=catalogue.tasks())


@router.get(
    "/{name}",
    **operation(
        "get_task",
        "One task",
        gives=(200, "The task.", examples.TASK),
        problems=["missing_scope", "not_found"],
    ),
)
def get_task(name: str, _asker: Reader, parameters: Parameters = "{}") -> Task:
    """Return one task with the JSON Schema of its parameters.

    Widths and exact baseline loss are those of the given parameters.
    """
    return catalogue.task(name, parameters)


@router.post(
    "/{name}/sample",
    response_model=SampleResponse,
    **operation(
        "sample_task",
        "Sequences of a task",
        takes=(SampleRequest, examples.SAMPLE),
        gives=(200, "The sequences.", examples.SAMPLED),
        problems=["missing_scope", "not_found"],
    ),
)
def sample_task(
    name: str,
    _asker: Reader,
    held: CurrentMemory,
    request: Annotated[SampleRequest, Depends(json_body(SampleRequest))],
) -> Response:
    """Draw some sequences of a task: inputs, targets and weights. No job trains on them.

    They are the held-out set of the given seed and size. A sample of too many values is refused.
    """
    return Response(catalogue.sample(name, request, held.take), media_type=JSON)
