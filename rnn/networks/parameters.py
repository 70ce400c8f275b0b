"""The parameters of a network: names, shapes, flat layout, seeded initialisation. NumPy only.

R replicas are one matrix [R, P], one row a replica, so that optimisers, clipping and norms are single operations; the
tensors are views of it. Names and order are those of checkpoints:

    layers.0.W_xh [R,A,I]  layers.0.b_x [R,A]  layers.0.W_hh [R,A,H]  layers.0.b_h [R,A]
    readout.W_hy [R,O,H]   readout.b_y [R,O]

Which tensors a layer has `rnn.cells.facts` says. A is H for rate cells, 4H for an LSTM (gates i, f, g, o), 3H for a GRU
(r, z, n). Layer n > 0 has I = H. A learned time constant is layers.0.tau, [R,1] or [R,H], a trainable initial state
layers.0.h0 [R,H] (and c0). With a vocabulary the first tensor is embedding.E [R,V,I]. After the layers of an encoder
come those of its decoder, decoder.0.W_xh [R,A,O] ….
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.networks import connectivity
from rnn.networks import initialisation as initial
from rnn.randomness.streams import Purpose, Stream
from unroll.contract import DType, Network

Array = TypeVar("Array", bound=Any)
"""np.ndarray or torch.Tensor."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one tensor of one replica lies in the row of P numbers."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """One past its last number."""
        return self.start + prod(self.shape)


def layout(network: Network) -> tuple[Slot, ...]:
    """The tensors of one replica, in the order of memory."""
    shapes: dict[str, tuple[int, ...]] = {}
    if network.vocabulary_size is not None:
        shapes["embedding.E"] = (network.vocabulary_size, network.input_size)
    about = facts(network.cell)
    initial = {f"{name}0": shape for name, shape in about.states.items()} if network.h0 == "trainable" else {}
    for place in places(network):
        width, encodes = about.hidden_size, place.startswith("layers")
        if place.endswith(".0"):
            width = network.input_size if encodes else network.output_size
        tensors = about.tensors(width) | (initial if encodes else {})
        shapes |= {f"{place}.{name}": shape for name, shape in tensors.items()}
    shapes["readout.W_hy"] = (network.output_size, network.cell.hidden_size)
    shapes["readout.b_y"] = (network.output_size,)
    slots, start = [], 0
    for name, shape in shapes.items():
        slots.append(Slot(name, shape, start))
        start = slots[-1].stop
    return tuple(slots)


def places(network: Network) -> tuple[str, ...]:
    """Where recurrent layers are: layers.0 and so on, and of an encoder_decoder then decoder.0 and so on."""
    stacks = ("layers", "decoder") if network.architecture == "encoder_decoder" else ("layers",)
    return tuple(f"{stack}.{n}" for stack in stacks for n in range(network.num_layers))


def count(network: Network) -> int:
    """P, the parameters of one replica; H(I + H + 2) + O(H + 1) for one vanilla layer."""
    return layout(network)[-1].stop


def views(flat_RP: Array, network: Network) -> dict[str, Array]:
    """The tensors [R, …] as views of the flat matrix, a NumPy array or a torch tensor."""
    replicas = flat_RP.shape[0]
    return {slot.name: flat_RP[:, slot.start : slot.stop].reshape(replicas, *slot.shape) for slot in layout(network)}


def initialise(network: Network, seed: int, replicas: int, dtype: DType = "float32") -> npt.NDArray[Any]:
    """Parameters [R, P], constraints applied: W_hh as `network.initialisation` says, what else is drawn ±1/sqrt(H).

    That is what PyTorch's nn.RNN and nn.Linear(H, O) start from; embeddings start from N(0, 1), as its nn.Embedding.
    Trainable initial states start from zero, time
    constants from the configured ones, an LSTM's forget gate with its additional bias.

    Row r depends only on (network, seed, r). Drawn in float64 and rounded, so both dtypes start from the same point.
    Raises ConfigurationError as `rnn.networks.initialisation.recurrent`.
    """
    bound = 1.0 / sqrt(network.cell.hidden_size)
    flat_RP = np.empty((replicas, count(network)), dtype)
    read_H = connectivity.read_units(network)
    for r in range(replicas):
        generator = Stream(seed, Purpose.PARAMETERS, r).at(0)
        for slot in layout(network):
            values = generator.uniform(-bound, bound, slot.shape)
            place, _, name = slot.name.rpartition(".")
            if name == "W_hh":
                values = initial.recurrent(network, values, generator, places(network).index(place), r)
            elif name == "E":
                values = generator.standard_normal(slot.shape)
            elif slot.name == "readout.W_hy" and read_H is not None:
                values = values * read_H
            else:
                values = initial.other(network, name, values)
            flat_RP[r, slot.start : slot.stop] = values.ravel()
    return flat_RP
