"""Which implementation runs a layer: the native kernel, cuDNN, or the workspace of its cell."""

from __future__ import annotations

import torch

from rnn import kernels
from rnn.cells import cudnn
from rnn.cells.cudnn import CuDNNLayer
from rnn.cells.gru import GRULayer
from rnn.cells.layer import Layer, LayerSpec
from rnn.cells.leaky import LeakyLayer
from rnn.cells.lstm import LSTMLayer
from rnn.cells.native import NativeLayer
from rnn.cells.vanilla import VanillaLayer
from rnn.kernels import Engine
from unroll.contract import Cell, DType, GRUCell, LeakyCell, LinearCell, LSTMCell


def chosen(cell: Cell, dtype: DType, device: str, replicas: int = 1, *, noisy: bool = False) -> Engine:
    """What `auto` means for layers of this cell on a device (cpu, cuda)."""
    if kernels.chosen(cell, dtype, device):
        return "native"
    return "cudnn" if cudnn.chosen(cell, device, replicas, noisy=noisy) else "workspace"


def make_layer(cell: Cell, spec: LayerSpec, engine: Engine = "auto") -> Layer:
    """The layer that runs this cell: on the native kernel, on cuDNN or in the workspace."""
    W_xh = spec.weights["W_xh"]
    dtype: DType = "float64" if W_xh.dtype == torch.float64 else "float32"
    if engine == "auto":
        engine = chosen(cell, dtype, W_xh.device.type, len(W_xh), noisy=spec.noisy)
    if engine == "cudnn" and spec.handed_on and (cell.type == "lstm" or spec.time_steps == 1):
        # cuDNN gives c of the last step alone. And a decoder that runs step by step would have a cuDNN network, and a
        # copy of the weights, for each step.
        engine = "workspace"
    if engine == "native":
        return NativeLayer(spec, cell)
    if engine == "cudnn":
        return CuDNNLayer(spec, cell)
    if isinstance(cell, LeakyCell):
        return LeakyLayer(spec, cell)
    if isinstance(cell, LSTMCell):
        return LSTMLayer(spec, cell)
    if isinstance(cell, GRUCell):
        return GRULayer(spec, cell)
    return VanillaLayer(spec, cell.hidden_size, "identity" if isinstance(cell, LinearCell) else cell.activation)
