"""Writes a trained network as one file: safetensors, NumPy's npz, a torch state dict without pickle, or ONNX."""

from __future__ import annotations

import io
import json
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.export import state_dict
from rnn.export.formats import FORMATS, Format, refusal
from rnn.networks.weights import StoredNetworks, dump_weights, write_container
from unroll.contract import CONTRACT_VERSION, DType

Array = npt.NDArray[Any]
Replica = int | Literal["all"]


def export(
    weights: StoredNetworks,
    replica: Replica,
    format: Format,  # noqa: A002 - the field's name on the wire
    arithmetic: DType | None = None,
) -> bytes:
    """Return the file that holds one replica, or all replicas if the format can. Equal networks give equal bytes.

    `arithmetic` is the precision in which an ONNX model computes, if it is not that of its weights, inputs and outputs.

    Raises ValueError if `rnn.export.formats.refusal` gives a reason, or the format cannot hold what is asked for.
    """
    if (reason := refusal(weights.network, weights.dtype, format)) is not None:
        raise ValueError(reason)
    if replica == "all" and not FORMATS[format].all_replicas:
        raise ValueError(f"a file in the format {format} holds one replica")
    if format == "safetensors" and replica == "all":
        return dump_weights(weights.network, weights.dtype, weights.flat())
    tensors = weights.tensors if replica == "all" else one(weights, replica)
    if format == "npz":
        return _npz(tensors, about(weights, replica))
    if format == "safetensors":
        return write_container(tensors, about(weights, replica))
    assert replica != "all"  # noqa: S101 - refused above
    if format == "torch":
        named = state_dict.from_ours(weights.network, tensors)
        return write_container(named, about(weights, replica) | {"modules": state_dict.modules(weights.network)})
    from rnn.export.onnx_model import model

    return model(weights.network, weights.dtype, tensors, about(weights, replica), arithmetic)


def one(weights: StoredNetworks, replica: int) -> dict[str, Array]:
    """Return one replica's tensors by name, without the axis R."""
    if not 0 <= replica < weights.replicas:
        raise ValueError(f"replicas are 0 to {weights.replicas - 1}, there is no {replica}")
    return {name: np.ascontiguousarray(tensor[replica]) for name, tensor in weights.tensors.items()}


def about(weights: StoredNetworks, replica: Replica) -> dict[str, Any]:
    """Return what every file says about its network, under the key `unroll` in its metadata."""
    said: dict[str, Any] = {
        "contract": CONTRACT_VERSION,
        "dtype": weights.dtype,
        "network": weights.network.model_dump(mode="json"),
    }
    gates = facts(weights.network.cell).gates
    if len(gates) > 1:
        said["gates"] = gates
    return said | {"replica": replica}


def _npz(tensors: dict[str, Array], said: dict[str, Any]) -> bytes:
    """Write the arrays by their names, and `unroll`, a string of JSON.

    NumPy writes no dates, so bytes are canonical.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, unroll=np.array(json.dumps(said, sort_keys=True)), **tensors)
    return buffer.getvalue()
