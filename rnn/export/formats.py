"""The export formats, and what each cannot hold. NumPy only: a server asks before a job runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rnn.cells.facts import facts
from rnn.networks import parameters
from unroll.contract import DType, LinearCell, Network, VanillaCell

Format = Literal["safetensors", "npz", "torch", "onnx"]

_LARGEST_ONNX = 2**31 - 2**20
"""Largest size of the weights in bytes. An ONNX file is one protobuf message of less than 2 GiB, which also holds the
graph."""


@dataclass(frozen=True, slots=True)
class FormatFacts:
    """The fixed facts about one format."""

    file_name: str
    """The artifact's name."""
    media_type: str
    """The artifact's Content-Type."""
    all_replicas: bool
    """Whether a file can hold all replicas, with each tensor [R, …]. Otherwise it holds one replica."""


FORMATS: dict[Format, FormatFacts] = {
    "safetensors": FormatFacts("model.safetensors", "application/octet-stream", all_replicas=True),
    "npz": FormatFacts("model.npz", "application/zip", all_replicas=True),
    "torch": FormatFacts("model.torch.safetensors", "application/octet-stream", all_replicas=False),
    "onnx": FormatFacts("model.onnx", "application/octet-stream", all_replicas=False),
}


ONNX_CELLS = frozenset({"vanilla", "linear", "leaky", "lstm", "gru"})
"""The recurrent cells that `rnn.export.onnx_cells` can write."""


def file_name(format: Format) -> str:  # noqa: A002 - the field's name on the wire
    """Return the name of the artifact."""
    return FORMATS[format].file_name


def media_type(format: Format) -> str:  # noqa: A002 - the field's name on the wire
    """Return the artifact's Content-Type."""
    return FORMATS[format].media_type


def refusal(network: Network, dtype: DType, format: Format) -> str | None:  # noqa: A002 - the field's name on the wire
    """Return why this network cannot be exported to the format, or None if it can."""
    if format == "torch":
        return _no_module(network)
    if format == "onnx":
        if facts(network.cell).recurrent and network.cell.type not in ONNX_CELLS:
            return f"{network.cell.type} cells have no form in ONNX yet; export to safetensors or npz"
        size = parameters.count(network) * np.dtype(dtype).itemsize
        if size > _LARGEST_ONNX:
            return f"an ONNX file holds less than 2 GiB, and the weights of one replica are {size / 2**30:.2f} GiB"
    return None


def _no_module(network: Network) -> str | None:
    cell = network.cell
    instead = "export it to onnx, safetensors or npz"
    if isinstance(cell, LinearCell):
        return f"torch.nn.RNN always has a nonlinearity, so no module is a linear cell; {instead}"
    if isinstance(cell, VanillaCell) and cell.activation not in {"tanh", "relu"}:
        return f"torch.nn.RNN has the nonlinearities tanh and relu, not {cell.activation}; {instead}"
    # these are torch.nn's own modules, which cuDNN runs
    if facts(cell).recurrent and facts(cell).cudnn is None:
        return f"torch.nn has no module for {cell.type} cells; {instead}"
    return None
