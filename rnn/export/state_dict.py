"""The names and shapes of torch.nn's modules for our tensors, and back. NumPy only.

    rnn         torch.nn.RNN, LSTM or GRU (for an encoder_decoder its encoder); for a feed-forward network a
                torch.nn.Sequential of Linear modules and nonlinearities
    decoder     for an encoder_decoder: the same cell, which reads its own last output, one step at a time
    readout     torch.nn.Linear(H, O)
    embedding   torch.nn.Embedding(V, I), if the inputs are tokens

All tensors belong to a module except `h0` and `c0` [num_layers, 1, H]. These exist if the initial state is trainable:
torch takes it as an argument. Gate order and the place of the GRU's reset gate are the same in torch and here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.networks import parameters
from unroll.contract import Network

Array = npt.NDArray[Any]
_OF_TORCH = {"W_xh": "weight_ih_l", "W_hh": "weight_hh_l", "b_x": "bias_ih_l", "b_h": "bias_hh_l"}
_NONLINEARITIES: dict[str, dict[str, Any]] = {
    "tanh": {"class": "Tanh"},
    "relu": {"class": "ReLU"},
    "leaky_relu": {"class": "LeakyReLU", "arguments": {"negative_slope": 0.01}},
    # Above its threshold torch uses the identity, which from 50 on is exact in float64.
    "softplus": {"class": "Softplus", "arguments": {"threshold": 50}},
    "sigmoid": {"class": "Sigmoid"},
    "identity": {"class": "Identity"},
    "saturated_relu": {"class": "Hardtanh", "arguments": {"min_val": 0.0, "max_val": 1.0}},
}


def modules(network: Network) -> dict[str, Any]:
    """Return the modules by name: their class in torch.nn, and its arguments (`modules` of a Sequential, in order)."""
    cell, O = network.cell, network.output_size  # noqa: E741
    found: dict[str, Any] = {"rnn": _stack(network, network.input_size)}
    if network.architecture == "encoder_decoder":
        found["decoder"] = _stack(network, O)
    found["readout"] = {"class": "Linear", "arguments": {"in_features": cell.hidden_size, "out_features": O}}
    if network.vocabulary_size is not None:
        sizes = {"num_embeddings": network.vocabulary_size, "embedding_dim": network.input_size}
        found["embedding"] = {"class": "Embedding", "arguments": sizes}
    return found


def _stack(network: Network, width: int) -> dict[str, Any]:
    cell, L = network.cell, network.num_layers
    if not facts(cell).recurrent:
        inside = []
        for n in range(L):
            sizes = {"in_features": width if n == 0 else cell.hidden_size, "out_features": cell.hidden_size}
            inside += [{"class": "Linear", "arguments": sizes}, _NONLINEARITIES[facts(cell).activation]]
        return {"class": "Sequential", "modules": inside}
    arguments: dict[str, Any] = {
        "input_size": width,
        "hidden_size": cell.hidden_size,
        "num_layers": L,
        "batch_first": True,
    }
    module = facts(cell).cudnn
    if module == "RNN":
        arguments["nonlinearity"] = facts(cell).activation
    return {"class": module, "arguments": arguments}


def names(network: Network) -> dict[str, str]:
    """Return our name of each tensor → torch's, without trainable initial states."""
    found = {}
    for slot in parameters.layout(network):
        place, _, name = slot.name.rpartition(".")
        stack, _, n = place.partition(".")
        if name == "E":
            found[slot.name] = "embedding.weight"
        elif stack == "readout":
            found[slot.name] = "readout.weight" if name == "W_hy" else "readout.bias"
        elif not facts(network.cell).recurrent:
            found[slot.name] = f"rnn.{2 * int(n)}.{'weight' if name == 'W_xh' else 'bias'}"
        elif name in _OF_TORCH:
            found[slot.name] = f"{'decoder' if stack == 'decoder' else 'rnn'}.{_OF_TORCH[name]}{n}"
    return found


def from_ours(network: Network, tensors: dict[str, Array]) -> dict[str, Array]:
    """Return one replica's tensors by torch's names."""
    found = {theirs: tensors[ours] for ours, theirs in names(network).items()}
    for name in _initial(network):
        found[name] = np.stack([tensors[f"layers.{n}.{name}"] for n in range(network.num_layers)])[:, None]
    return found


def to_ours(network: Network, tensors: dict[str, Array]) -> dict[str, Array]:
    """Return tensors that have torch's names under our names: the inverse of `from_ours`."""
    found = {ours: tensors[theirs] for ours, theirs in names(network).items()}
    for name in _initial(network):
        found |= {f"layers.{n}.{name}": tensors[name][n, 0] for n in range(network.num_layers)}
    return found


def _initial(network: Network) -> list[str]:
    return [f"{name}0" for name in tuple(facts(network.cell).states)] if network.h0 == "trainable" else []
