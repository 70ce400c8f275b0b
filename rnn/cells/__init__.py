"""One file a cell: its equations, its pointwise forward step and its hand-derived backward step."""

from __future__ import annotations

from rnn.cells.gru import GRULayer
from rnn.cells.leaky import LeakyLayer
from rnn.cells.lstm import LSTMLayer
from rnn.cells.vanilla import VanillaLayer
from rnn.layer import Layer, LayerSpec
from unroll.contract import Cell, GRUCell, LeakyCell, LinearCell, LSTMCell


def make_layer(cell: Cell, spec: LayerSpec) -> Layer:
    """The layer that runs this cell."""
    if isinstance(cell, LeakyCell):
        return LeakyLayer(spec, cell)
    if isinstance(cell, LSTMCell):
        return LSTMLayer(spec, cell)
    if isinstance(cell, GRUCell):
        return GRULayer(spec, cell)
    return VanillaLayer(spec, cell.hidden_size, "identity" if isinstance(cell, LinearCell) else cell.activation)
