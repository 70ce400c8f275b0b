"""Reads prediction requests that are tensors: safetensors, or one array in NumPy's format.

Both are read without copying, and nothing of them is believed: sizes, places and types in a header must fit the bytes
that came. Formats: https://github.com/huggingface/safetensors#format, and numpy.lib.format. Arrays of objects, which
NumPy's format would pickle, are no numbers, and are refused like all that are none.
"""

from __future__ import annotations

import io
import re
import tokenize
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from pydantic_core import to_json

from api.errors import Refused, invalid
from api.inference import Array, Asked, LayerStates
from api.memory import Held
from api.validation import Content, validate
from unroll.contract import FieldError, PredictOptions
from unroll.contract.limits import MAX_LAYERS, MAX_PREDICT_SEQUENCES

MOST_HEADER = 16 * 1024
_VIEW_BYTES = 400
"""Bytes of Python objects for a row of a tensor: a view of it, and its place in lists."""
_DTYPES = {
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "I8": "<i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "U8": "<u1",
    "U16": "<u2",
    "U32": "<u4",
}
_STATE = re.compile(r"state\.layers\.(\d{1,2})\.([A-Za-z_]{1,20})")
_OF_STATE = re.compile(r"/state/(\d+)/layers/(\d+)/(\w+)")
_TENSORS = "the tensors are inputs [N, T, I], lengths [N] and the states state.layers.0.h [N, H] and so on"
_Whole = Annotated[StrictInt, Field(ge=0, le=2**40)]


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dtype: Literal["F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32"]
    shape: Annotated[list[_Whole], Field(max_length=4)]
    data_offsets: Annotated[list[_Whole], Field(min_length=2, max_length=2)]


class _Header(BaseModel):
    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, _Tensor]
    about: Annotated[dict[str, StrictStr], Field(alias="__metadata__")] = {}


def safetensors(content: Content, held: Held) -> Asked:
    """Return what safetensors ask for. Refuses malformed_request, and validation_failed with a pointer to a tensor."""
    tensors, about = read(content)
    for name in tensors:
        if name not in {"inputs", "lengths"} and not _STATE.fullmatch(name):
            raise invalid(_pointer(name), "unknown_tensor", _TENSORS)
    if "inputs" not in tensors:
        raise invalid("/inputs", "missing", _TENSORS)
    x = _sequences(tensors["inputs"])
    given = sorted(tensors.keys() - {"inputs", "lengths"})
    held.take(_VIEW_BYTES * len(x) * (1 + len(given)))
    states: list[LayerStates] | None = [[] for _ in x] if given else None
    for name in given:
        _place_state(states or [], name, tensors[name])
    inputs = list(x) if "lengths" not in tensors else _cut(x, tensors["lengths"])
    return Asked(_options(about), inputs, states, place=_place)


def npy(content: Content, held: Held) -> Asked:
    """Return what one array [T, I] or [N, T, I] asks for. Refuses as `safetensors` does."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_2_0 if version[0] > 1 else np.lib.format.read_array_header_1_0
        shape, by_columns, dtype = header(file, max_header_size=MOST_HEADER)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, MemoryError, RecursionError) as error:
        raise Refused("malformed_request", f"This is no array in NumPy's format: {str(error)[:200]}") from None
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise invalid("/inputs", "wrong_type", f"the array must be numbers of at most 64 bits, not {str(dtype)[:40]}")
    count, begin = prod(shape), file.tell()
    if any(size < 0 for size in shape) or count * dtype.itemsize != len(content) - begin:
        detail = f"{_listed(shape)} of {dtype} is {count * dtype.itemsize:,} bytes, but {len(content) - begin:,} came"
        raise invalid("/inputs", "wrong_length", detail)
    x = np.frombuffer(content, dtype, count, begin).reshape(shape, order="F" if by_columns else "C")
    single = x.ndim == 2
    x = _sequences(x[None] if single else x)
    held.take(_VIEW_BYTES * len(x))
    return Asked(PredictOptions(), list(x), single=single)


def read(content: Content) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the tensors and the metadata of safetensors; the tensors are views of the content."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(len(content) - 8, MOST_HEADER):
        detail = f"its header has {size:,} bytes: there are {len(content):,} bytes, and it may have {MOST_HEADER:,}"
        raise Refused("malformed_request", f"This is no safetensors file; {detail}.")
    begin = 8 + size
    header = _header(bytes(content[8:begin]))
    tensors: dict[str, Array] = {}
    at = 0
    for name, one in sorted((header.__pydantic_extra__ or {}).items(), key=lambda item: item[1].data_offsets):
        first, end = one.data_offsets
        dtype, count = np.dtype(_DTYPES[one.dtype]), prod(one.shape)
        if first != at or end < first or end > len(content) - begin:
            detail = f"it lies from {first:,} to {end:,}, but starts at {at:,} and ends within {len(content) - begin:,}"
            raise invalid(_pointer(name, "data_offsets"), "wrong_length", detail)
        if count * dtype.itemsize != end - first:
            detail = f"{_listed(one.shape)} of {one.dtype} is {count * dtype.itemsize:,} bytes, not {end - first:,}"
            raise invalid(_pointer(name, "shape"), "wrong_length", detail)
        if not count:
            raise invalid(_pointer(name), "empty_sequence", f"it has the shape {_listed(one.shape)}: there is nothing")
        tensors[name] = np.frombuffer(content, dtype, count, begin + first).reshape(one.shape)
        at = end
    if at != len(content) - begin:
        raise invalid("", "wrong_length", f"{len(content) - begin - at:,} bytes after the last tensor belong to none")
    return tensors, header.about


def _header(text: bytes) -> _Header:
    try:
        header: _Header = validate(_Header, text)
    except Refused as refused:
        if refused.code == "malformed_request":
            refused.detail = f"The header of the safetensors: {refused.detail}"
        raise refused from None
    return header


def _options(about: dict[str, str]) -> PredictOptions:
    """Return the options that stand as texts in the metadata. `format` is what libraries write there."""
    given: dict[str, Any] = {name: text for name, text in about.items() if name != "format"}
    for name in ("replica", "steps"):
        if re.fullmatch(r"-?\d{1,18}", given.get(name, "")):
            given[name] = int(given[name])
    if "return" in given:
        given["return"] = [one.strip() for one in given["return"].split(",")]
    if not given:
        return PredictOptions()
    try:
        options: PredictOptions = validate(PredictOptions, to_json(given))
    except Refused as refused:
        below = [
            FieldError(pointer=f"/__metadata__{one.pointer}", code=one.code, detail=one.detail)
            for one in refused.errors
        ]
        raise Refused(refused.code, refused.detail, errors=below) from None
    return options


def _sequences(x: Array) -> Array:
    """Return inputs [N, T, I] as floats, whole numbers as JSON would have been read."""
    if x.ndim != 3 or 0 in x.shape:
        raise invalid("/inputs", "wrong_shape", f"inputs must be [N, T, I], not {_listed(x.shape)}")
    if len(x) > MAX_PREDICT_SEQUENCES:
        raise invalid("/inputs", "too_long", f"{len(x):,} sequences, more than {MAX_PREDICT_SEQUENCES:,}")
    if x.dtype.kind != "f":
        return x.astype(np.float64)
    return x if x.flags.aligned else x.copy()


def _cut(x: Array, lengths: Array) -> list[Array]:
    if lengths.dtype.kind == "f" or lengths.shape != (len(x),):
        raise invalid("/lengths", "wrong_shape", f"lengths must be {len(x):,} whole numbers, one a sequence")
    wrong = (lengths < 1) | (lengths > x.shape[1])
    if wrong.any():
        i = int(np.argmax(wrong))
        raise invalid(f"/lengths/{i}", "out_of_range", f"a length is from 1 to {x.shape[1]:,}, not {lengths[i]}")
    return [one[:length] for one, length in zip(x, lengths.tolist(), strict=True)]


def _place_state(states: list[LayerStates], name: str, tensor: Array) -> None:
    """Add the rows of `state.layers.n.NAME` to the states of the sequences."""
    named = _STATE.fullmatch(name)
    assert named is not None  # noqa: S101 - its name was checked
    n = int(named[1])
    if n >= MAX_LAYERS:
        raise invalid(_pointer(name), "wrong_shape", f"a network has at most {MAX_LAYERS} layers")
    if not tensor.ndim or len(tensor) != len(states):
        raise invalid(_pointer(name), "wrong_shape", f"a state has {len(states):,} rows, one a sequence")
    for layers, state in zip(states, tensor, strict=True):
        while len(layers) <= n:
            layers.append({})
        layers[n][named[2]] = state


def _place(pointer: str) -> str:
    """Return where something in a JSON request is among tensors."""
    found = _OF_STATE.match(pointer)
    if found is not None:
        return f"/state.layers.{found[2]}.{found[3]}/{found[1]}"
    return f"/__metadata__{pointer}" if pointer in {"/replica", "/steps", "/return", "/reduce"} else pointer


def _pointer(*names: str) -> str:
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


def _listed(shape: Any) -> str:
    return f"[{', '.join(map(str, shape))}]"
