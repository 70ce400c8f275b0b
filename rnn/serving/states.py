"""Writes the hidden state of sequences as safetensors, and reads it back. NumPy only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rnn.errors import InputError

LayerStates = list[dict[str, npt.NDArray[Any]]]


def dump_states(states: Sequence[LayerStates]) -> bytes:
    """Return the states of N sequences as tensors `layers.0.h` [N, H], `layers.0.c`, ..., or [N, R, H]."""
    layers = range(len(states[0]))
    return save(
        {
            f"layers.{n}.{name}": np.ascontiguousarray([state[n][name] for state in states])
            for n in layers
            for name in states[0][n]
        }
    )


def load_states(content: bytes) -> list[LayerStates]:
    """Return the states of each sequence. Raises InputError if the content is damaged or has other tensors."""
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise InputError("", "not_safetensors", f"this is no safetensors file: {error}") from None
    layers: dict[int, dict[str, npt.NDArray[Any]]] = {}
    for place, tensor in tensors.items():
        named = re.fullmatch(r"layers\.(\d{1,3})\.(\w{1,20})", place)
        if named is None or tensor.ndim < 2:
            raise InputError("", "wrong_shape", f"{place} is no state: they are layers.0.h [N, H] and so on")
        layers.setdefault(int(named[1]), {})[named[2]] = tensor
    rows = {len(tensor) for layer in layers.values() for tensor in layer.values()}
    if len(rows) != 1 or sorted(layers) != list(range(len(layers))):
        raise InputError("", "wrong_shape", "a state has every layer from 0 on, each with one row a sequence")
    return [
        [{name: tensor[i] for name, tensor in layers[n].items()} for n in range(len(layers))] for i in range(rows.pop())
    ]
