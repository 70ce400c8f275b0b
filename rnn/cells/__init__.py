"""One file a cell: its equations, its pointwise forward step and its hand-derived backward step."""

from __future__ import annotations

from rnn.cells.vanilla import VanillaLayer
from rnn.layer import Layer, LayerSpec
from unroll.contract import Cell


def make_layer(cell: Cell, spec: LayerSpec) -> Layer:
    """The layer that runs this cell."""
    return VanillaLayer(spec, cell.hidden_size, cell.activation)
