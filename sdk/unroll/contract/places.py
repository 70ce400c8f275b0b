"""Finds out what a request may hold at a place: which fields, of which types, and an example of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from unroll.contract.base import Shorthand

TAGS = ("type", "kind")
"""Fields that say which of several types an object has."""
NOTHING = object()
"""Stands for a value that a document does not have."""


@dataclass(frozen=True)
class Place:
    """What may stand at one place of a request."""

    classes: tuple[type[BaseModel], ...] = ()
    """Types of objects."""
    shorthand: Shorthand | None = None
    """The short forms that may stand for these objects."""
    required: bool = True
    """Whether something must stand there."""
    nullable: bool = False
    """Whether null may stand there."""
    examples: tuple[Any, ...] = ()
    """Examples that the field gives itself."""
    choices: tuple[Any, ...] = ()
    """The values that it may have, if they are few."""
    others: tuple[Any, ...] = ()
    """What else may stand there, as types: numbers, texts, lists."""


def place(annotation: Any) -> Place:
    """Return what a type allows."""
    found = _Found()
    found.look(annotation)
    return found.place()


class _Found:
    def __init__(self, field: FieldInfo | None = None) -> None:
        self.classes: list[type[BaseModel]] = []
        self.choices: list[Any] = []
        self.others: list[Any] = []
        self.examples: list[Any] = []
        self.shorthand: Shorthand | None = None
        self.nullable = False
        self.required = field is None or field.is_required()
        if field is not None:
            self.examples += field.examples or []
            self.notes(field.metadata)
            self.look(field.annotation)

    def notes(self, metadata: Sequence[Any]) -> None:
        for note in metadata:
            if isinstance(note, Shorthand):
                self.shorthand = note
            elif isinstance(note, FieldInfo):
                self.examples += note.examples or []

    def look(self, annotation: Any) -> None:
        origin = get_origin(annotation)
        if origin is Annotated:
            self.notes(get_args(annotation)[1:])
            self.look(get_args(annotation)[0])
        elif origin in {Union, UnionType}:
            for one in get_args(annotation):
                self.look(one)
        elif origin is Literal:
            self.choices += get_args(annotation)
        elif annotation is NoneType:
            self.nullable = True
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            self.classes.append(annotation)
        else:
            self.others.append(annotation)

    def place(self) -> Place:
        return Place(
            classes=tuple(self.classes),
            shorthand=self.shorthand,
            required=self.required,
            nullable=self.nullable,
            examples=tuple(self.examples),
            choices=tuple(self.choices),
            others=tuple(self.others),
        )


@cache
def fields(model: type[BaseModel]) -> dict[str, Place]:
    """Return what each field of a type may hold, under the name that users write; without the tag."""
    return {
        field.alias or name: _Found(field).place()
        for name, field in model.model_fields.items()
        if not _is_tag(name, field)
    }


def _is_tag(name: str, field: FieldInfo) -> bool:
    return name in TAGS and get_origin(field.annotation) is Literal


def tag_of(model: type[BaseModel]) -> str | None:
    """Return the word that tells this type from others, for example `adam`; None if there is none."""
    for name, field in model.model_fields.items():
        if _is_tag(name, field):
            return str(get_args(field.annotation)[0])
    return None


def types_of(where: Place, value: object) -> tuple[type[BaseModel], ...]:
    """Return the types that an object can have there: the one that its tag names, or all of them."""
    if where.shorthand is not None:
        value = where.shorthand.expand(value)
    tags = [value[name] for name in TAGS if name in value] if isinstance(value, dict) else []
    chosen = tuple(one for one in where.classes if tag_of(one) in tags)
    return chosen or where.classes


def written_out(where: Place, value: Any) -> Any:
    """Return a document as plain JSON with every short form in full. What fits no type is left as it is."""
    if where.shorthand is not None:
        value = where.shorthand.expand(value)
    types = types_of(where, value)
    if not isinstance(value, dict) or not types:
        return value
    known = fields(types[0])
    return {name: written_out(known[name], item) if name in known else item for name, item in value.items()}


def inner(where: Place, value: object, part: int | str) -> Place:
    """Return the place one step deeper: at a field of an object, or at an item of a list or mapping."""
    if isinstance(part, str):
        for model in types_of(where, value):
            if part in fields(model):
                return fields(model)[part]
    for other in where.others:
        if (arguments := get_args(other)) and get_origin(other) in {list, dict}:
            return place(arguments[-1])
    return Place()


@cache
def elsewhere(model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Return for each name of a field the outermost objects that have such a field, written with dots."""
    found: dict[str, list[str]] = {}
    for where, name in _walk(model, "", ()):
        if where not in found.setdefault(name, []):
            found[name].append(where)
    depth = {name: min(map(_depth, places)) for name, places in found.items()}
    return {name: tuple(one for one in places if _depth(one) == depth[name]) for name, places in found.items()}


def _depth(where: str) -> int:
    return len(where.split(".")) if where else 0


def _walk(model: type[BaseModel], where: str, above: tuple[type[BaseModel], ...]) -> Iterator[tuple[str, str]]:
    for name, what in fields(model).items():
        yield where, name
        for one in what.classes:
            if one not in above:
                yield from _walk(one, f"{where}.{name}" if where else name, (*above, model))


def example(where: Place) -> Any:
    """Return an example of what may stand there; None if nothing is known about it."""
    if where.examples:
        return where.examples[0]
    if where.classes:
        return example_of(where.classes[0])
    if where.choices:
        return where.choices[0]
    for other in where.others:
        if get_origin(other) is list:
            one = example(place(get_args(other)[0]))
            return None if one is None else [one]
    return None


@cache
def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a small object of a type: its tag, its required fields, and of a type without these one other field."""
    tags = {name: get_args(field.annotation)[0] for name, field in model.model_fields.items() if _is_tag(name, field)}
    shown = {name: example(what) for name, what in fields(model).items() if what.required}
    if not shown:
        defaults = {field.alias or name: field.default for name, field in model.model_fields.items()}
        numbers = [
            (name, defaults[name])
            for name in fields(model)
            if isinstance(defaults[name], int | float) and not isinstance(defaults[name], bool) and defaults[name]
        ]
        given = [(name, what.examples[0]) for name, what in fields(model).items() if what.examples]
        shown = dict((given or numbers)[:1])
    return {**tags, **shown}
