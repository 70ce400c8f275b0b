"""Stores the weights of R networks as bytes: safetensors with canonical metadata. NumPy only, no pickle.

The tensors are those of `rnn.networks.parameters.layout`, each with its leading axis R. One metadata key, `unroll`,
holds canonical JSON: format, contract version, dtype, network, and the order of the gates in the rows of a gated cell.
It contains neither job nor step, so equal networks have equal bytes and hashes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rnn.cells.facts import facts
from rnn.errors import CheckpointError
from rnn.networks import parameters
from unroll.contract import CONTRACT_VERSION, DType, Network

FORMAT = 1
_KEY = "unroll"
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class StoredNetworks:
    """The networks of one checkpoint."""

    network: Network
    dtype: DType
    tensors: dict[str, Array]
    """The tensors by name, each [R, …]."""

    @property
    def replicas(self) -> int:
        """R, the number of networks."""
        return len(self.tensors["readout.b_y"])

    def flat(self) -> Array:
        """Return the weights as one matrix [R, P], in the order of `rnn.networks.parameters.layout`."""
        rows = [self.tensors[slot.name].reshape(self.replicas, -1) for slot in parameters.layout(self.network)]
        return np.concatenate(rows, axis=1)


def dump_weights(network: Network, dtype: DType, flat_RP: Array) -> bytes:
    """Return weights as canonical bytes: equal networks give equal bytes."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in parameters.views(flat_RP, network).items()}
    about: dict[str, Any] = {
        "contract": CONTRACT_VERSION,
        "dtype": dtype,
        "network": network.model_dump(mode="json"),
    }
    gates = facts(network.cell).gates
    if len(gates) > 1:
        about["gates"] = gates
    return write_container(tensors, about)


def load_weights(content: bytes) -> StoredNetworks:
    """Read the networks in `content`.

    Raises CheckpointError if the content is damaged, not in this format, or does not match its metadata.
    """
    about, tensors = read_container(content)
    try:
        network = Network.model_validate_json(json.dumps(about["network"]))
        dtype: DType = about["dtype"]
        np.dtype(dtype)
    except (KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(f"the metadata does not describe a network: {error}") from None
    replicas = next(iter(tensors.values())).shape[:1] if tensors else ()
    expected = {slot.name: (*replicas, *slot.shape) for slot in parameters.layout(network)}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != expected or replicas in ((), (0,)):
        raise CheckpointError(f"the tensors {found} are not those of its network, {expected}")
    if any(tensor.dtype != dtype for tensor in tensors.values()):
        raise CheckpointError(f"not all tensors are {dtype}")
    return StoredNetworks(network, dtype, {name: tensors[name] for name in expected})


def write_container(tensors: dict[str, Array], about: dict[str, Any]) -> bytes:
    """Write tensors and their metadata as canonical bytes: equal content gives equal bytes."""
    return save(tensors, {_KEY: _canonical({"format": FORMAT} | about)})


def read_container(content: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read metadata and tensors in one pass over the header.

    Raises CheckpointError if the content is damaged or not in this format. safetensors itself refuses a header that
    does not fit its body.
    """
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_KEY])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"not a checkpoint, or torn: {error!r}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CheckpointError(f"format {about.get('format') if isinstance(about, dict) else about!r} is not {FORMAT}")
    return about, tensors


def _canonical(about: dict[str, Any]) -> str:
    return json.dumps(about, sort_keys=True, separators=(",", ":"), allow_nan=False)
