"""Predictions as safetensors, which are many times faster to write and to read than JSON, and have the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from unroll._numbers import Floats
from unroll.contract import State
from unroll.errors import UnexpectedAnswerError
from unroll.weights import read_safetensors

Array = NDArray[Any]
MEDIA_TYPE = "application/x-safetensors"
LARGE = 1024
"""Number of input values from which on requests are tensors by themselves."""
MOST_PADDING = 2
"""Largest size of padded inputs over what is in them, for requests that are tensors by themselves."""


def worth_it(sequences: Sequence[Floats]) -> bool:
    """Return whether these inputs are sent faster as tensors."""
    size = sum(one.size for one in sequences)
    return size >= LARGE and len(sequences) * max(one.size for one in sequences) <= MOST_PADDING * size


def request(sequences: Sequence[Floats], states: Sequence[Any] | None, options: Mapping[str, object]) -> bytes | None:
    """Return a request as safetensors; None if it has no such form, so that the server refuses it as JSON.

    Numbers are sent as float32 where that changes none of them.
    """
    from safetensors.numpy import save

    if not sequences or len({one.shape[1] for one in sequences}) > 1 or not all(one.size for one in sequences):
        return None
    lengths = np.array([len(one) for one in sequences], np.int64)
    x = np.zeros((len(sequences), lengths.max(), sequences[0].shape[1]))
    for row, one in zip(x, sequences, strict=True):
        row[: len(one)] = one
    tensors: dict[str, Array] = {"inputs": _short(x)}
    if len(set(lengths.tolist())) > 1:
        tensors["lengths"] = lengths
    if states is not None:
        found = _states(states)
        if found is None or len(states) != len(sequences):
            return None
        tensors |= found
    return save(tensors, {name: _text(value) for name, value in options.items()} or None)


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _short(x: Array) -> Array:
    with np.errstate(over="ignore"):
        short = x.astype(np.float32)
    return short if np.array_equal(short, x) else np.ascontiguousarray(x)


def _states(states: Sequence[Any]) -> dict[str, Array] | None:
    """Return states as one tensor a layer and kind; None if they are not alike."""
    layers = [
        one.model_dump(exclude_none=True)["layers"] if isinstance(one, State) else one["layers"] for one in states
    ]
    names = [[sorted(layer) for layer in one] for one in layers]
    if not layers or any(one != names[0] for one in names):
        return None
    try:
        return {
            f"state.layers.{n}.{name}": _short(np.array([one[n][name] for one in layers], np.float64))
            for n, layer in enumerate(layers[0])
            for name in layer
        }
    except ValueError:  # of different shapes
        return None


class Answer:
    """The tensors of an answer, as JSON would give them: float64, and NaN for what overflowed."""

    def __init__(self, content: bytes) -> None:
        """Raises UnexpectedAnswerError if it is no prediction."""
        self._tensors, about = read_safetensors(content)
        try:
            self.model, self.checkpoint = about.get("model"), about["checkpoint"]
            replica = about["replica"]
            self.replica: int | Literal["all"] = "all" if replica == "all" else int(replica)
            level = about.get("level", "null")
            self.level = None if level == "null" else float(level)
        except (KeyError, ValueError) as error:
            raise UnexpectedAnswerError(f"The answer is no prediction: {error}") from error
        lengths = self._tensors.get("lengths")
        self._lengths = None if lengths is None else lengths.tolist()

    def of(self, name: str, *, stacked: bool) -> Floats | list[Floats] | None:
        """Return a tensor, or its rows as a list of arrays without what they were filled up with."""
        tensor = self._tensors.get(name)
        if tensor is None:
            return None
        values = tensor.astype(np.float64)
        values[~np.isfinite(values)] = np.nan
        if stacked:
            return values
        of_replicas = self.replica == "all" and "interval.lower" not in self._tensors
        if self._lengths is None or values.ndim < 3 + of_replicas:
            return list(values)
        return [row[..., :length, :] for row, length in zip(values, self._lengths, strict=True)]

    def state(self) -> list[list[dict[str, Floats]]] | None:
        """Return the states, [sequence][layer]["h"]."""
        named = {tuple(name.split(".")[2:]): name for name in self._tensors if name.startswith("state.layers.")}
        if not named:
            return None
        tensors = {key: cast("list[Floats]", self.of(name, stacked=True)) for key, name in named.items()}
        count = 1 + max(int(n) for n, _ in tensors)
        rows = len(next(iter(tensors.values())))
        return [
            [{name: of[i] for (n, name), of in tensors.items() if int(n) == layer} for layer in range(count)]
            for i in range(rows)
        ]
