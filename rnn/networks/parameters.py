"""The parameters of a network: names, shapes, flat layout, seeded initialisation. NumPy only.

R replicas are one matrix [R, P] with one row for each replica, so that optimisers, clipping and norms are single
operations; the tensors are views of it. Names and order are the same as in checkpoints:

    layers.0.W_xh [R,A,I]  layers.0.b_x [R,A]  layers.0.W_hh [R,A,H]  layers.0.b_h [R,A]
    readout.W_hy [R,O,H]   readout.b_y [R,O]

`rnn.cells.facts` says which tensors a layer has. A is H for rate cells, 4H for an LSTM (gates i, f, g, o), 3H for a GRU
(r, z, n). Layer n > 0 has I = H. A learned time constant is layers.0.tau, [R,1] or [R,H], a trainable initial state
layers.0.h0 [R,H] (and c0). With a vocabulary the first tensor is embedding.E [R,V,I]. The layers of an encoder are
followed by those of its decoder, decoder.0.W_xh [R,A,O] ….
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
from rnn.pulse import beat
from rnn.randomness.streams import Purpose, Stream
from unroll.contract import DType, Network

Array = TypeVar("Array", bound=Any)
"""np.ndarray or torch.Tensor."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one tensor of one replica in the row of P numbers."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """The index after the tensor's last number."""
        return self.start + prod(self.shape)


def layout(network: Network) -> tuple[Slot, ...]:
    """Return the tensors of one replica, in the order of memory."""
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
    """Return the names of the recurrent layers: layers.0 and so on, then decoder.0 and so on for an encoder_decoder."""
    stacks = ("layers", "decoder") if network.architecture == "encoder_decoder" else ("layers",)
    return tuple(f"{stack}.{n}" for stack in stacks for n in range(network.num_layers))


def count(network: Network) -> int:
    """Return P, the number of parameters of one replica; H(I + H + 2) + O(H + 1) for one vanilla layer."""
    return layout(network)[-1].stop


def views(flat_RP: Array, network: Network) -> dict[str, Array]:
    """Return the tensors [R, …] as views of the flat matrix, a NumPy array or a torch tensor."""
    replicas = flat_RP.shape[0]
    return {slot.name: flat_RP[:, slot.start : slot.stop].reshape(replicas, *slot.shape) for slot in layout(network)}


def initialise(network: Network, seed: int, replicas: int, dtype: DType = "float32") -> npt.NDArray[Any]:
    """Return initial parameters [R, P] with constraints applied.

    W_hh follows `network.initialisation`. Other tensors are uniform in ±1/sqrt(H), like those of PyTorch's nn.RNN and
    nn.Linear(H, O), and embeddings come from N(0, 1), like its nn.Embedding. Trainable initial states start from zero,
    time constants from the configured values, and an LSTM's forget gate adds its configured bias.

    Row r depends only on (network, seed, r). Values are drawn in float64 and rounded, so both dtypes start from the
    same point. Raises ConfigurationError as `rnn.networks.initialisation.recurrent` does.
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
            beat()
    return flat_RP
