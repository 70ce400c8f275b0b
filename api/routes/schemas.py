"""/v1/schema: JSON Schema of what can be sent, with defaults and descriptions."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from fastapi import APIRouter
from pydantic import TypeAdapter

from api import examples
from api.auth import Reader
from api.errors import Refused
from api.negotiation import JSON, offers
from api.operations import operation
from unroll import contract
from unroll.contract import SchemaKinds
from unroll.contract.base import Shorthand
from unroll.contract.wording import unknown

router = APIRouter(prefix="/v1/schema", tags=["schemas"], dependencies=[offers(JSON)])

KINDS: dict[str, tuple[Any, str]] = {
    "network": (contract.Network, ""),
    "training": (contract.Training, ""),
    **{one.model_fields["kind"].default: (one, "") for one in contract.JOB_TYPES},
    "predict": (contract.PredictRequest, ""),
    "session": (contract.NewSession, ""),
    "step": (contract.StepRequest, ""),
    "session_state": (contract.SessionState, ""),
    "sample": (contract.SampleRequest, ""),
    "check": (contract.CheckRequest, ""),
    "model": (contract.NewModel, ""),
    "serving": (contract.Serving, ""),
    "pin": (contract.Pin, ""),
    "key": (contract.NewKey, ""),
    "connectivity": (contract.Connectivity, ""),
    "initialisation": (contract.Initialisation, "How W_hh is initialised."),
    "loss": (contract.Loss, "The loss that is minimised."),
    "optimizer": (contract.Optimizer, "How the gradient changes the parameters."),
    "cell": (contract.Cell, "Any of the recurrent cells, told apart by `type`."),
    **{cell.model_fields["type"].default: (cell, "") for cell in get_args(get_args(contract.Cell)[0])},
}
"""The type of each kind. A union has no docstring, so its description is given here. Parameters of tasks are at
/v1/tasks."""


@router.get(
    "",
    **operation(
        "list_schemas",
        "The kinds that have a JSON Schema",
        gives=(200, "All of them.", examples.SCHEMA_KINDS),
        problems=["missing_scope"],
    ),
)
def list_schemas(_asker: Reader) -> SchemaKinds:
    """List the kinds and what each describes. The parameters of tasks are at /v1/tasks."""
    # the first paragraph of a class's docstring is one sentence about it
    described = {kind: text or _first(type_.__doc__ or "") for kind, (type_, text) in KINDS.items()}
    return SchemaKinds(kinds=described)


@router.get(
    "/{kind}",
    **operation(
        "get_schema",
        "The JSON Schema of one kind",
        gives=(200, "A JSON Schema (2020-12).", None),
        problems=["missing_scope", "not_found"],
    ),
)
def get_schema(kind: str, _asker: Reader) -> dict[str, Any]:
    """Return the JSON Schema of one kind, with ranges, defaults and descriptions, as the server checks it."""
    if kind not in KINDS:
        raise Refused("not_found", unknown("schema", kind, KINDS))
    return _schema(kind)


def _tags(union: Any) -> dict[Any, str]:
    """Return the types of a union that need their tag, which says that they are not the default one."""
    members, *about = get_args(union)
    short = next(one for one in about if isinstance(one, Shorthand))
    return {one: short.tag for one in get_args(members) if one.model_fields[short.tag].default != short.default}


TAGS = _tags(contract.Cell) | _tags(contract.JobConfig)


@cache
def _schema(kind: str) -> dict[str, Any]:
    type_, text = KINDS[kind]
    made = TypeAdapter(type_).json_schema()
    if tag := TAGS.get(type_):
        made["required"] = [tag, *made.get("required", ())]
    if text:
        made["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _first(docstring: str) -> str:
    return " ".join(docstring.partition("\n\n")[0].split())
