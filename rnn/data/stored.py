"""The file of a fixed set of sequences: safetensors, mapped read-only, so that processes share its pages.

Sequences lie one after the other in `inputs` and `targets`; a sequence is a place and a length in each. Windows of one
long series may overlap. Numbers are in the network's units: they are normalised when the file is written. NumPy only.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from unroll.contract.datasets import Sequences

SPLITS = ("train", "validation", "test")
_ARRAYS = (
    "inputs",
    "targets",
    "input_start",
    "input_length",
    "target_start",
    "target_length",
    "split",
)
_TYPES = {"F32": np.float32, "I32": np.int32, "I64": np.int64, "I8": np.int8}


@dataclass(frozen=True, slots=True)
class Stored:
    """A fixed set of N sequences."""

    about: Sequences
    inputs: npt.NDArray[Any]
    """[S, I] float32; tokens are [S, 1] int32."""
    targets: npt.NDArray[Any]
    """[U, O] float32; classes are [U, 1] int32. A sequence with one target has one row."""
    input_start: npt.NDArray[np.int64]
    """First row of each sequence in `inputs`, [N]."""
    input_length: npt.NDArray[np.int32]
    target_start: npt.NDArray[np.int64]
    """First row of each sequence in `targets`, [N]."""
    target_length: npt.NDArray[np.int32]
    split: npt.NDArray[np.int8]
    """The split of each sequence, an index into SPLITS, [N]."""
    weights: npt.NDArray[np.float32] | None = None
    """How often each row of `targets` counts in the loss, [U]; None: each counts once."""

    def dump(self) -> bytes:
        """Return the content of the file."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        if self.weights is not None:
            arrays["weights"] = np.ascontiguousarray(self.weights)
        return save(arrays, metadata={"sequences": self.about.model_dump_json()})


def open_stored(path: Path) -> Stored:
    """Map a file that the server wrote. The arrays are read-only."""
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return load_stored(content)


def load_stored(content: bytes | mmap.mmap) -> Stored:
    """Return the sequences in the content of a file, without copying them."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    about = Sequences.model_validate_json(header.pop("__metadata__")["sequences"])
    arrays = {name: _array(content, end, entry) for name, entry in header.items()}
    return Stored(about, **arrays)


def _array(content: bytes | mmap.mmap, end: int, entry: dict[str, Any]) -> npt.NDArray[Any]:
    count = int(np.prod(entry["shape"]))
    flat = np.frombuffer(content, _TYPES[entry["dtype"]], count, end + entry["data_offsets"][0])
    return flat.reshape(entry["shape"])
