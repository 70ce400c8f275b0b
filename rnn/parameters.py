"""The parameters of a network: names, shapes, flat layout, seeded initialisation. NumPy only.

R replicas are one matrix [R, P], one row a replica, so that optimisers, clipping and norms are single operations; the
tensors are views of it. Names and order are those of checkpoints:

    layers.0.W_xh [R,H,I]  layers.0.b_x [R,H]  layers.0.W_hh [R,H,H]  layers.0.b_h [R,H]
    readout.W_hy [R,O,H]   readout.b_y [R,O]
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rnn.randomness import Purpose, Stream
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
    i, h, o = network.input_size, network.cell.hidden_size, network.output_size
    shapes = {
        "layers.0.W_xh": (h, i),
        "layers.0.b_x": (h,),
        "layers.0.W_hh": (h, h),
        "layers.0.b_h": (h,),
        "readout.W_hy": (o, h),
        "readout.b_y": (o,),
    }
    slots, start = [], 0
    for name, shape in shapes.items():
        slots.append(Slot(name, shape, start))
        start = slots[-1].stop
    return tuple(slots)


def count(network: Network) -> int:
    """P, the parameters of one replica: H(I + H + 2) + O(H + 1)."""
    return layout(network)[-1].stop


def views(flat_RP: Array, network: Network) -> dict[str, Array]:
    """The tensors [R, …] as views of the flat matrix, a NumPy array or a torch tensor."""
    replicas = flat_RP.shape[0]
    return {slot.name: flat_RP[:, slot.start : slot.stop].reshape(replicas, *slot.shape) for slot in layout(network)}


def initialise(network: Network, seed: int, replicas: int, dtype: DType = "float32") -> npt.NDArray[Any]:
    """Parameters [R, P], each uniform in ±1/sqrt(H), which is what PyTorch's nn.RNN and nn.Linear(H, O) start from.

    Row r depends only on (network, seed, r). Drawn in float64 and rounded, so both dtypes start from the same point.
    """
    bound = 1.0 / sqrt(network.cell.hidden_size)
    flat_RP = np.empty((replicas, count(network)), dtype)
    for r in range(replicas):
        flat_RP[r] = Stream(seed, Purpose.PARAMETERS, r).at(0).uniform(-bound, bound, flat_RP.shape[1])
    return flat_RP
