"""/v1/models: named configurations, and what each of them serves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from api import catalogue, examples
from api.auth import Reader, Writer
from api.bodies import json_body
from api.negotiation import JSON, offers
from api.operations import answer, operation
from api.routes.parameters import Cursor, Limit
from api.service import CurrentService
from store import models
from unroll.contract import Model, NewModel, Page, Pin, Serving

ALIAS = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[offers(JSON)])


@router.post(
    "",
    response_model=Model,
    **operation(
        "register_model",
        "Register a configuration under a name",
        takes=(NewModel, examples.NEW_MODEL),
        gives=(201, "Registered.", examples.MODEL),
        also={200: answer(Model, "It was registered before, with this configuration.", examples.MODEL)},
        problems=["missing_scope", "name_conflict"],
    ),
)
def register_model(
    asker: Writer, service: CurrentService, new: Annotated[NewModel, Depends(json_body(NewModel))], response: Response
) -> Model:
    """Register a configuration under a name.

    Registering the same configuration again is no error. Registering another one under the same name is.
    """
    model, created = models.register(service.db, asker.tenant, new, catalogue.parameters(new.config))
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/v1/models/{model.name}"
    return model


@router.get(
    "",
    **operation(
        "list_models",
        "Registered models, newest first",
        gives=(200, "A page.", examples.MODELS),
        problems=["missing_scope"],
    ),
)
def list_models(asker: Reader, service: CurrentService, limit: Limit = 50, cursor: Cursor = None) -> Page[Model]:
    """List your tenant's models."""
    return models.list_(service.db, asker.tenant, limit=limit, cursor=cursor)


@router.get(
    "/{name}",
    **operation(
        "get_model",
        "One model",
        gives=(200, "The model.", examples.MODEL),
        problems=["missing_scope", "not_found"],
    ),
)
def get_model(name: str, asker: Reader, service: CurrentService) -> Model:
    """Return a model's configuration, parameter count, and the checkpoint that predict uses."""
    return models.get(service.db, asker.tenant, name)


@router.delete(
    "/{name}",
    **operation(
        "delete_model",
        "Forget a model's name",
        gives=(204, "Forgotten.", None),
        problems=["missing_scope", "not_found", "model_in_use"],
    ),
)
def delete_model(name: str, asker: Writer, service: CurrentService) -> None:
    """Remove a model's name; jobs and checkpoints stay. Refused while a job that has not ended trains the model."""
    models.remove(service.db, asker.tenant, name)


@router.put(
    "/{name}/serving",
    **operation(
        "serve_model",
        "Pin what predict uses",
        takes=(Serving, examples.SERVING),
        gives=(200, "The model, with the checkpoint that it serves now.", examples.MODEL),
        problems=["missing_scope", "not_found"],
    ),
)
def serve_model(
    name: str, asker: Writer, service: CurrentService, serving: Annotated[Serving, Depends(json_body(Serving))]
) -> Model:
    """Set the checkpoint that predict uses.

    Without this, predict uses the best checkpoint of the train job that finished last.
    """
    return models.pin(service.db, asker.tenant, name, serving)


@router.delete(
    "/{name}/serving",
    **operation(
        "unpin_model",
        "Serve the newest job's best again",
        gives=(200, "The model, with the checkpoint that it serves now.", examples.MODEL),
        problems=["missing_scope", "not_found"],
    ),
)
def unpin_model(name: str, asker: Writer, service: CurrentService) -> Model:
    """Let predict use the best checkpoint of the train job that finished last, without candidate and shadow."""
    return models.unpin(service.db, asker.tenant, name)


@router.post(
    "/{name}/serving/undo",
    **operation(
        "undo_serving",
        "Take the last change back",
        gives=(200, "The model, with the checkpoint that it serves now.", examples.MODEL),
        problems=["missing_scope", "not_found"],
    ),
)
def undo_serving(name: str, asker: Writer, service: CurrentService) -> Model:
    """Serve what was served before the last change of serving, with its candidate and shadow."""
    return models.undo(service.db, asker.tenant, name)


@router.put(
    "/{name}/aliases/{alias}",
    **operation(
        "set_alias",
        "Name a checkpoint of a model",
        takes=(Pin, examples.PIN),
        gives=(200, "The model, with its aliases.", examples.MODEL),
        problems=["missing_scope", "not_found"],
    ),
)
def set_alias(
    name: str,
    alias: Annotated[str, Path(pattern=ALIAS)],
    asker: Writer,
    service: CurrentService,
    wanted: Annotated[Pin, Depends(json_body(Pin))],
) -> Model:
    """Give a checkpoint a name, for example `champion`: predictions at `NAME@champion` use it."""
    return models.alias(service.db, asker.tenant, name, alias, wanted)


@router.delete(
    "/{name}/aliases/{alias}",
    **operation(
        "delete_alias",
        "Take a checkpoint's name away",
        gives=(204, "Taken away.", None),
        problems=["missing_scope", "not_found"],
    ),
)
def delete_alias(name: str, alias: str, asker: Writer, service: CurrentService) -> None:
    """Take the name of a checkpoint away; the checkpoint stays."""
    models.unalias(service.db, asker.tenant, name, alias)
