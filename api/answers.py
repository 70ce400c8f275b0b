"""Writes what networks give: as JSON, as safetensors, or as one array in NumPy's format.

JSON is written directly from the arrays: building and validating a PredictResponse would take longer than the network.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from api.errors import invalid
from api.memory import Held
from api.negotiation import NPY, SAFETENSORS
from unroll.contract.limits import MAX_PREDICT_VALUES

Array = NDArray[Any]
LayerStates = list[dict[str, Array]]
_JSON_BYTES = 44
"""Bytes of a number in an answer: as JSON, once in pieces and once as a whole."""
_TENSOR_BYTES = 24
"""Bytes of a number in a tensor: in the padded array, among the others, and as it is sent."""
_DTYPES = {"f4": "F32", "f8": "F64", "i8": "I64"}
_ROWS_OF = 16_384
"""Number of values that are Python objects at a time while an answer is written."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Around outputs, in their form."""

    lower: list[Array]
    upper: list[Array]
    level: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction, with one array for each sequence; what was not asked for is None."""

    model: str | None
    checkpoint: str
    replica: int | Literal["all"]
    outputs: list[Array] | None
    hidden: list[Array] | None = None
    state: list[LayerStates] | None = None
    interval: Spread | None = None
    single: bool = False
    """Whether the one sequence was posted as an array of its own."""


def written(answer: Answer, media_type: str, held: Held) -> bytes:
    """Return a prediction in one of the media types. Memory is reserved first. Refuses validation_failed, and busy."""
    if media_type in {SAFETENSORS, NPY}:
        held.take(_TENSOR_BYTES * sum(map(_padded_size, _arrays(answer).values())))
        return as_safetensors(answer) if media_type == SAFETENSORS else as_npy(answer)
    held.take(_JSON_BYTES * sum(array.size for arrays in _arrays(answer).values() for array in arrays))
    return as_json(answer)


def as_json(answer: Answer) -> bytes:
    """Return a PredictResponse; a number that overflowed is null."""
    pieces = [head(answer.model, answer.checkpoint, answer.replica)]
    if answer.outputs is not None:
        pieces += [b',"outputs":', *_listed(map(_json, answer.outputs))]
    if answer.interval is not None:
        pieces += [b',"interval":{"lower":', *_listed(map(_json, answer.interval.lower))]
        pieces += [b',"upper":', *_listed(map(_json, answer.interval.upper))]
        pieces += [b',"level":', to_json(answer.interval.level), b"}"]
    if answer.state is not None:
        pieces += [b',"state":', *_states(answer.state)]
    if answer.hidden is not None:
        pieces += [b',"hidden":', *_listed(map(_json, answer.hidden))]
    return b"".join([*pieces, b"}"])


def as_safetensors(answer: Answer) -> bytes:
    """Return tensors `outputs`, `hidden`, `interval.lower`, `state.layers.0.h`, with the sequences as first axis.

    Ragged sequences are filled up with zeros, and `lengths` says how many time steps are theirs. Numbers that
    overflowed stay what they are.
    """
    tensors = {}
    for name, arrays in _arrays(answer).items():
        lengths = [array.shape[-2] if array.ndim > 1 else 1 for array in arrays]
        if len(set(lengths)) > 1:
            tensors["lengths"] = np.array(lengths, np.int64)
        tensors[name] = _together(arrays)
    for n, layer in enumerate(answer.state[0] if answer.state else []):
        for name in layer:
            tensors[f"state.layers.{n}.{name}"] = np.stack([layers[n][name] for layers in answer.state or []])
    about = {"checkpoint": answer.checkpoint, "replica": str(answer.replica)}
    if answer.model is not None:
        about["model"] = answer.model
    if answer.interval is not None:
        about["level"] = "null" if answer.interval.level is None else str(answer.interval.level)
    return _file(tensors, about)


def _file(tensors: dict[str, Array], about: dict[str, str]) -> bytes:
    """Return a safetensors file. The library's own writer puts metadata in an order that is drawn at random."""
    header: dict[str, Any] = {"__metadata__": about}
    data, end = [], 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):  # aligned
        data.append(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
        begin, end = end, end + len(data[-1])
        header[name] = {"dtype": _DTYPES[tensor.dtype.str[1:]], "shape": tensor.shape, "data_offsets": [begin, end]}
    text = to_json(header)
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *data])


def as_npy(answer: Answer) -> bytes:
    """Return the outputs alone, [N, ...], or without that axis if one sequence was posted without it."""
    asked = [("/return", answer.state), ("/return", answer.hidden), ("/reduce", answer.interval)]
    for pointer, there in asked:
        if there is not None:
            raise invalid(pointer, "contradiction", "npy has room for outputs alone: ask for safetensors, or for JSON")
    outputs = answer.outputs or []
    if len({array.shape for array in outputs}) > 1:
        detail = "sequences of different lengths have no place in one array: ask for safetensors, or for JSON"
        raise invalid("/inputs", "wrong_length", detail)
    file = io.BytesIO()
    array = outputs[0] if answer.single else _together(outputs)
    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def _arrays(answer: Answer) -> dict[str, list[Array]]:
    interval = answer.interval
    found = {
        "outputs": answer.outputs,
        "hidden": answer.hidden,
        "interval.lower": None if interval is None else interval.lower,
        "interval.upper": None if interval is None else interval.upper,
    }
    return {name: arrays for name, arrays in found.items() if arrays is not None}


def _padded_size(arrays: Sequence[Array]) -> int:
    """Return the number of values in one array of all sequences. Refuses what would be far more than was computed."""
    size: int = len(arrays) * max(array.size for array in arrays)
    if size > MAX_PREDICT_VALUES:
        detail = f"filled up to the longest sequence, the answer is {size:,} values, more than {MAX_PREDICT_VALUES:,}"
        raise invalid("/inputs", "too_many_values", f"{detail}: send sequences of like lengths, or ask for JSON")
    return size


def _together(arrays: Sequence[Array]) -> Array:
    """Return arrays [..., T_i, O] as one [N, ..., T, O], filled up with zeros."""
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1:
        return np.stack(arrays)
    together = np.zeros((len(arrays), *max(shapes, key=lambda shape: shape[-2])), arrays[0].dtype)
    for row, array in zip(together, arrays, strict=True):
        row[..., : array.shape[-2], :] = array
    return together


def head(model: str | None, checkpoint: str, replica: int | Literal["all"]) -> bytes:
    """Return the beginning of a PredictResponse as JSON, which says what answers."""
    return to_json({"model": model, "checkpoint": checkpoint, "replica": replica})[:-1]


def outputs_alone(begin: bytes, outputs: Sequence[Array]) -> bytes:
    """Return the PredictResponse that begins with `head` and has outputs alone."""
    return b"".join([begin, b',"outputs":', *_listed(map(_json, outputs)), b"}"])


def states_json(given: list[LayerStates]) -> bytes:
    """Return a SessionState as JSON."""
    return b'{"state":' + b"".join(_states(given)) + b"}"


def _states(given: list[LayerStates]) -> Iterator[bytes]:
    of_sequences = (
        [{"layers": [{name: state.tolist() for name, state in layer.items()} for layer in layers]}] for layers in given
    )
    return _listed([_plain(one)[1:-1]] for one in of_sequences)


def _json(array: Array) -> Iterator[bytes]:
    """Write an array as nested lists.

    Only a few lists exist at a time, because as Python objects they take ten times the memory of their JSON.
    """
    if array.size <= _ROWS_OF:
        return iter([_plain(array.tolist())])
    rows = max(1, _ROWS_OF * len(array) // array.size)
    if rows == 1:
        return _listed(map(_json, array))
    stretches = (array[start : start + rows].tolist() for start in range(0, len(array), rows))
    return _listed([_plain(stretch)[1:-1]] for stretch in stretches)


def _listed(items: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    yield b"["
    for i, item in enumerate(items):
        if i:
            yield b","
        yield from item
    yield b"]"


def _plain(value: object) -> bytes:
    return to_json(value, inf_nan_mode="null")
