"""Says what is wrong with a request in plain words: what is allowed, what it looks like, and what was probably meant.

The server uses this for all that it refuses, and tasks use it for their parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unroll.contract.base import Name, Title
from unroll.contract.places import (
    NOTHING,
    Place,
    elsewhere,
    example,
    example_of,
    fields,
    inner,
    place,
    tag_of,
    types_of,
)
from unroll.contract.submission import Label
from unroll.contract.suggestions import alike, did_you_mean, nearest

_TYPES = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "string_type": "text",
}
"""What should stand where something of another type stands, by pydantic's codes."""
_BOUNDS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}
_MOST_SHOWN = 60
"""Longest text of a user that is repeated."""
_LONG_BITS = 128
"""Bits of the longest whole number that is repeated."""
_NO_CONTROLS = "Line breaks and other control characters are not allowed"


def _pattern(text: Any) -> str:
    return str(text.__metadata__[0].pattern)


_NAME = _pattern(Name)
_PATTERNS = {
    _NAME: "Only letters A to Z, digits, '.', '_' and '-' are allowed, at most 100, the first one a letter or digit",
    _pattern(Title): _NO_CONTROLS,
    _pattern(Label): _NO_CONTROLS,
}


@dataclass(frozen=True)
class _Wrong:
    """One error: the value, what may stand in its place, the object that holds it, and where it is."""

    code: str
    message: str
    context: Mapping[str, Any]
    field: str
    """The last name of pydantic's location; in a short form, a field that was not written."""
    given: Any
    where: Place
    holder: Any
    around: Place
    path: tuple[int | str, ...]
    looks: str
    """What the whole list looks like in which the value is an item."""


def describe(
    error: Mapping[str, Any], root: Any, path: Sequence[int | str], document: Any, *, name: str | None = None
) -> str:
    """Return what one of pydantic's errors means, in plain words.

    `root` is the type that the whole document should have, `path` leads to the wrong value in it. `name` is what the
    document is called, if it is not a whole request.
    """
    where, around, given, holder, looks = place(root), Place(), document, None, ""
    for part in path:
        around, holder, item = where, given, isinstance(part, int)
        if not item:
            looks = ""
        elif where.examples:
            looks = f"; the whole list looks like {_json(where.examples[0])}"
        where, given = inner(where, given, part), _get(given, part)
    wrong = _Wrong(
        code=error["type"],
        message=str(error["msg"]).removeprefix("Value error, ").replace(" after validation", ""),
        context=error.get("ctx", {}),
        field=str(error["loc"][-1]) if error["loc"] else "",
        given=error.get("input") if given is NOTHING else given,
        where=where,
        holder=holder,
        around=around,
        path=tuple(path),
        looks=looks,
    )
    if wrong.code == "extra_forbidden":
        return _unknown_field(wrong, place(root), document, name)
    if wrong.code == "missing":
        return _missing(wrong)
    if wrong.code in {"union_tag_invalid", "union_tag_not_found"}:
        return _wrong_tag(wrong)
    if wrong.code == "literal_error":
        known = re.findall(r"'([^']*)'", str(wrong.context.get("expected", "")))
        return _sentence(wrong.message, did_you_mean(str(wrong.given), known))
    if wrong.code in _TYPES:
        return _wrong_type(wrong) + wrong.looks
    if wrong.code in _BOUNDS:
        bound, said = next(iter(wrong.context.values())), _BOUNDS[wrong.code]
        return f"Input should be {said} {_number(bound)}, not {_number(wrong.given)}"
    if wrong.code == "string_pattern_mismatch":
        return _wrong_text(wrong)
    if wrong.code == "string_too_short":
        return "Input should not be empty"
    if wrong.code.startswith(("datetime_", "timezone_")):
        return 'Input should be a time with its zone, for example "2030-12-31T12:00:00Z"'
    return wrong.message


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """Say that there is no such thing, and which there are: "There is no task x; there are a, b."."""
    names = list(known)
    there = f"; there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else ""
    return f"There is no {what} {shown(given)}{there}.{did_you_mean(given, names)}"


def shown(given: object) -> str:
    """Return what a user wrote as it can be repeated: cut off where it is long."""
    text = str(given)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _unknown_field(wrong: _Wrong, root: Place, document: Any, called: str | None) -> str:
    name, types = str(wrong.path[-1]), types_of(wrong.around, wrong.holder)
    own = [field for one in types for field in fields(one)]
    words = [tag for one in types if (tag := tag_of(one)) and len(wrong.around.classes) > 1]
    names = [str(part) for part in (called, *wrong.path[:-1]) if isinstance(part, str)]
    who = words[0] if len(words) == 1 else names[-1] if names else None
    said = "There is no such field" if who is None else f"{who} has no such field"
    meant = nearest(name, own)
    if meant is not None and alike(meant, name):
        return _sentence(said, f" Did you mean {meant}?")
    siblings = [tag for one in wrong.around.classes if name in fields(one) and (tag := tag_of(one))]
    if siblings:
        return f"{said}; {' and '.join(siblings)} {'has' if len(siblings) == 1 else 'have'} it"
    others = {field: one for model in types_of(root, document)[:1] for field, one in elsewhere(model).items()}
    if name in others:
        return (
            f"{said}: {name} belongs {' or '.join(f'in {one}' if one else 'at the top level' for one in others[name])}"
        )
    if meant is None and (far := nearest(name, others)) is not None:
        meant = ".".join(filter(None, [others[far][0], far]))
    if meant is not None:
        return _sentence(said, f" Did you mean {meant}?")
    has = f"; {'it has' if who else 'there are'} {', '.join(own)}" if own else f"; {who or 'it'} has no fields"
    opened = "parameters" in own and wrong.around.shorthand is not None
    return f"{said}{has}. Parameters of the task belong in {'.'.join(names)}.parameters" if opened else said + has


def _missing(wrong: _Wrong) -> str:
    if wrong.where.shorthand is not None and isinstance(wrong.given, str):
        needy = types_of(wrong.where, wrong.given)[0]
        return f"{wrong.given} needs {wrong.field}: write {_json(example_of(needy))}"
    there = example(wrong.where)
    return "This field is required" + ("" if there is None else f", for example {_json(there)}")


def _wrong_tag(wrong: _Wrong) -> str:
    tags = [tag for one in wrong.where.classes if (tag := tag_of(one))]
    either = _either([f"'{tag}'" for tag in tags])
    if wrong.code == "union_tag_not_found":
        return f"This field is required: {either}"
    short = isinstance(wrong.given, str)
    there = f", or an object, for example {_json(example(wrong.where))}" if short else ""
    return _sentence(f"Input should be {either}{there}", did_you_mean(str(wrong.context["tag"]), tags))


def _wrong_type(wrong: _Wrong) -> str:
    what, given, where = _TYPES[wrong.code], wrong.given, wrong.where
    said = f"Input should be {what}"
    if what in {"text", "an object"} and str in where.others and where.classes:
        return f"Input should be a name, or an object, for example {_json(example(where))}"
    if what == "text" and isinstance(given, int | float):
        return f"{said}: write {_json(_number(given))}"
    if what == "a list" and isinstance(given, str) and len(given) <= _MOST_SHOWN:
        return f"{said}: write {_json([given])}"
    if wrong.code.endswith("_parsing"):
        return f"{said}, not {shown(given)}"
    if what.endswith("number") and isinstance(given, str):
        return f"{said}: write {given} without quotes" if _is_number(given, what) else f"{said}, not text"
    if what == "an object" and (there := example(where)) is not None:
        short = _short(where)
        begin = f"Input should be {short}, or an object" if short else said
        said = f"{begin}, for example {_json(there)}"
    if given is None:
        return f"{said}, not null" + ("" if where.required else "; leave the field out to have its default")
    if what.endswith("number") and isinstance(given, int | float):
        return f"{said}, not {_number(given)}"
    return said


def _wrong_text(wrong: _Wrong) -> str:
    pattern = wrong.context["pattern"]
    told = _PATTERNS.get(pattern, wrong.message)
    if pattern == _NAME and isinstance(wrong.given, str) and len(wrong.given) <= _MOST_SHOWN:
        allowed = "_".join(re.findall(r"[A-Za-z0-9.-]+", wrong.given)).lstrip(".-")
        return _sentence(told, f" Did you mean {allowed}?" if allowed else "")
    return told


def _short(where: Place) -> str:
    """Return the short forms that may stand for an object, each with an example."""
    if where.shorthand is None:
        return ""
    bare: list[Any] = []
    if where.shorthand.word == where.shorthand.tag:
        bare = [tag_of(one) for one in where.classes if not _needs(one)]
    elif where.shorthand.word is not None:
        bare = [example(fields(where.classes[0])[where.shorthand.word])]
    forms = [f"a name, for example {_json(bare[0])}"] if bare else []
    if where.shorthand.number is not None:
        (counted,) = (one for one in where.classes if tag_of(one) == where.shorthand.default)
        forms.append(f"a number, for example {_json(example(fields(counted)[where.shorthand.number]))}")
    return ", or ".join(forms)


def _needs(model: Any) -> bool:
    return any(one.required for one in fields(model).values())


def _get(holder: Any, part: int | str) -> Any:
    try:
        return holder[part]
    except (KeyError, IndexError, TypeError):
        return NOTHING


def _is_number(text: str, what: str) -> bool:
    pattern = r"-?(0|[1-9]\d*)" + ("" if what == "a whole number" else r"(\.\d+)?([eE][+-]?\d+)?")
    return len(text) <= _MOST_SHOWN and re.fullmatch(pattern, text) is not None


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _sentence(said: str, question: str) -> str:
    return f"{said.rstrip('.')}.{question}" if question else said


def _json(value: object) -> str:
    return json.dumps(value)


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return shown(value)
    if isinstance(value, int):
        # Python refuses to write whole numbers of thousands of digits
        return str(value) if value.bit_length() <= _LONG_BITS else "a number with so many digits"
    return f"{value:g}"
