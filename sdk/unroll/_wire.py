"""Converts between Python values and JSON.

Only fields that were set are sent. Unknown fields and values in an answer are no error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from unroll._numbers import masked
from unroll.contract import Job, Request
from unroll.contract.summary import Summary
from unroll.errors import UnexpectedAnswerError

T = TypeVar("T", bound=BaseModel)

DISCRIMINATORS = frozenset({"type", "kind"})
"""Fields that are sent even if they have the default value, because they say which kind the other fields describe."""


def encode(value: object, where: str = "") -> bytes:
    """Return the set fields as JSON. `where` is the JSON Pointer of the value.

    Raises ValueError for numbers that are not finite or are masked, and TypeError for what JSON cannot express. Both
    name the field by its JSON Pointer, as the server does.
    """
    return json.dumps(_plain(value, where), allow_nan=False, separators=(",", ":")).encode()


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None. The server knows the defaults of the others."""
    return {name: value for name, value in fields.items() if value is not None}


def _plain(value: object, where: str) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{where} is {float(value)}, not a finite number")
            return value
        case BaseModel():
            fields = type(value).model_fields
            sent = (name for name in fields if name in value.model_fields_set or name in DISCRIMINATORS)
            named = {name: fields[name].serialization_alias or name for name in sent}
            return {alias: _plain(getattr(value, name), _below(where, alias)) for name, alias in named.items()}
        case Mapping():
            return {key: _plain(item, _below(where, key)) for key, item in value.items()}
        case list() | tuple():
            if {*map(type, value)} == {float} and all(map(math.isfinite, value)):
                return value  # the rows of long sequences
            return [_plain(item, _below(where, index)) for index, item in enumerate(value)]
        case np.ndarray():
            if (place := masked(value)) is not None:
                raise ValueError(f"{where}{''.join(f'/{index}' for index in place)} is masked")
            return _plain(value.tolist(), where)
        case np.floating():
            return _plain(float(value), where)
        case np.generic():
            return _plain(value.item(), where)
        case datetime():
            if value.tzinfo is None:
                raise ValueError(f"{where} is {value}, which has no time zone")
            return value.isoformat()
    raise TypeError(f"{where or 'the request'} is {type(value).__name__}, which JSON does not have")


def _below(where: str, part: object) -> str:
    return f"{where}/{str(part).replace('~', '~0').replace('/', '~1')}"


def decode(model: type[T], content: bytes | str) -> T:
    """Read an answer. Unknown fields are ignored.

    An unknown value (a newer server's cell, event type or status) is kept as plain JSON in its place, so that one new
    thing on the server does not make a whole list unreadable. Raises UnexpectedAnswerError for anything else.
    """
    try:
        return model.model_validate_json(content, extra="ignore")
    except ValidationError as error:
        try:
            answer = _tolerant(model, json.loads(content))
        except (ValueError, LookupError):
            answer = None
        if isinstance(answer, model):
            return answer
        raise UnexpectedAnswerError(f"The answer is no {model.__name__}: {error}") from error


class _Unknown(Summary):
    """The summary of a kind of job that only a newer server knows."""

    model_config = ConfigDict(extra="allow")


def summary_of(job: Job) -> Summary:
    """Return the job's summary. One of a kind that is not known here is told field by field."""
    summary: Any = job.summary
    return summary if isinstance(summary, Summary) else _Unknown.model_validate(summary)


def _tolerant(kind: Any, raw: Any) -> Any:
    """Read `raw` as `kind` piece by piece, where possible. Raises LookupError if a field is missing."""
    if get_origin(kind) is list and isinstance(raw, list):
        return [_tolerant(get_args(kind)[0], item) for item in raw]
    if get_origin(kind) is Annotated:
        return _tolerant(get_args(kind)[0], raw)
    if get_origin(kind) in {Union, UnionType} and isinstance(raw, dict):
        models = [one for one in get_args(kind) if isinstance(one, type) and issubclass(one, BaseModel)]
        models = models if len(models) == 1 else [one for one in models if _is_tagged(one, raw)]
        if len(models) == 1:
            return _tolerant(models[0], raw)
    if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(raw, dict):
        values = {}
        for name, field in kind.model_fields.items():
            wire = field.alias or name
            if name in DISCRIMINATORS and issubclass(kind, Request) and not _is_tagged(kind, raw):
                return raw  # a kind of thing that is not known here: its fields would mean something else
            if wire in raw:
                values[name] = _tolerant(field.annotation, raw[wire])
            elif field.is_required():
                raise LookupError(name)
        return kind.model_construct(_fields_set=set(values), **values)
    try:
        return TypeAdapter(kind).validate_json(json.dumps(raw), extra="ignore")
    except ValidationError:
        return raw


def _is_tagged(model: type[BaseModel], raw: dict[str, Any]) -> bool:
    """Return whether the fields that tell things apart have values in `raw` that this model knows."""
    tags = {name: field for name, field in model.model_fields.items() if name in DISCRIMINATORS}
    return bool(tags) and all(raw.get(n, field.default) in get_args(field.annotation) for n, field in tags.items())
