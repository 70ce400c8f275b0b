"""A checkpoint's weights as NumPy arrays or as PyTorch modules.

The tensors are those of the course's equations, with the replica axis R in front:

    h[t] = f(W_xh x[t] + b_x + W_hh h[t-1] + b_h),   y[t] = W_hy h[t] + b_y

    layers.0.W_xh [R, H, I]   layers.0.b_x [R, H]   layers.0.W_hh [R, H, H]   layers.0.b_h [R, H]
    readout.W_hy [R, O, H]    readout.b_y [R, O]
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll._names import unknown
from unroll.contract import Checkpoint, Network, VanillaCell
from unroll.errors import UnexpectedAnswerError

Array = NDArray[Any]


class TorchNetwork(NamedTuple):
    """One replica as PyTorch modules: y = readout(rnn(x)[0]) for x [T, B, I] (batch_first is False)."""

    rnn: Any
    """torch.nn.RNN, torch.nn.LSTM or torch.nn.GRU."""
    readout: Any
    """torch.nn.Linear."""


class Weights(Mapping[str, Array]):
    """The weights of a checkpoint: weights[name] is an array [R, ...].

    `metadata` is what the file says about itself.
    """

    def __init__(self, content: bytes, checkpoint: Checkpoint) -> None:
        """`content` is a safetensors file.

        Raises UnexpectedAnswerError if it is not one, or if it is not the checkpoint's.
        """
        if hashlib.sha256(content).hexdigest() != checkpoint.sha256:
            raise UnexpectedAnswerError(f"The weights of {checkpoint.id} do not have its SHA-256; they were damaged.")
        self.network: Network = checkpoint.network
        self.checkpoint = checkpoint
        self.tensors, self.metadata = read_safetensors(content)

    def __getitem__(self, name: str) -> Array:
        """Return one tensor. Raises KeyError, which lists the tensors that there are."""
        try:
            return self.tensors[name]
        except KeyError:
            raise unknown(f"the tensors of {self.checkpoint.id}", name, self.tensors) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in self.tensors.items())
        return f"<weights of {self.checkpoint.id}: {shapes}>"

    def replica(self, replica: int | Literal["best"] = "best") -> dict[str, Array]:
        """Return the arrays of one replica, without the replica axis. Raises ValueError if there is no such replica."""
        index = self.checkpoint.best_replica if replica == "best" else replica
        if index is None:
            raise ValueError("this checkpoint was not evaluated, so no replica is known to be the best: name one")
        if not 0 <= index < self.checkpoint.replicas:
            raise ValueError(f"there is no replica {index}; they are 0 to {self.checkpoint.replicas - 1}")
        return {name: tensor[index] for name, tensor in self.tensors.items()}

    def to_torch(self, replica: int | Literal["best"] = "best") -> TorchNetwork:
        """Return one replica as torch.nn.RNN, LSTM or GRU and torch.nn.Linear, with these weights and their precision.

        Raises ImportError without PyTorch, ValueError for a network that torch.nn does not have.
        """
        try:
            # by name: nothing of this package may depend on PyTorch
            torch = importlib.import_module("torch")
        except ImportError as error:
            raise ImportError('PyTorch modules need PyTorch: pip install "unroll-sdk[torch]"') from error
        cell, layers = self.network.cell, self.network.num_layers
        make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell.type)
        if isinstance(cell, VanillaCell) and cell.activation in {"tanh", "relu"}:
            make = partial(torch.nn.RNN, nonlinearity=cell.activation)
        if make is None or self.network.h0 != "zeros":
            raise ValueError(f"torch.nn has no such network: {cell!r}, h0 {self.network.h0}")
        if self.network.architecture == "encoder_decoder" or self.network.vocabulary_size is not None:
            raise ValueError("one torch.nn module has neither a decoder nor an embedding: take the arrays themselves")
        arrays = self.replica(replica)
        inputs, (outputs, hidden) = arrays["layers.0.W_xh"].shape[1], arrays["readout.W_hy"].shape
        kind = getattr(torch, str(arrays["layers.0.W_xh"].dtype))
        rnn = make(inputs, hidden, layers, dtype=kind)
        readout = torch.nn.Linear(hidden, outputs, dtype=kind)
        pairs = {"readout.W_hy": readout.weight, "readout.b_y": readout.bias}
        names = {"W_xh": "weight_ih", "b_x": "bias_ih", "W_hh": "weight_hh", "b_h": "bias_hh"}
        for n in range(layers):
            pairs |= {f"layers.{n}.{ours}": getattr(rnn, f"{theirs}_l{n}") for ours, theirs in names.items()}
        with torch.no_grad():
            for name, parameter in pairs.items():
                parameter.copy_(torch.from_numpy(np.array(arrays[name])))
        return TorchNetwork(rnn, readout)


def read_safetensors(content: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """Return tensors and metadata of a safetensors file. Raises UnexpectedAnswerError if it is not one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, KeyError) as error:
        raise UnexpectedAnswerError(f"This is no safetensors file: {error}") from error
    metadata: dict[str, str] = header.get("__metadata__", {})
    return tensors, metadata
