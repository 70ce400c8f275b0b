"""Chooses the implementation that runs a layer: the native kernel, cuDNN, or the workspace of its cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rnn import kernels
from rnn.cells import cudnn
from rnn.cells.cudnn import CuDNNLayer
from rnn.cells.facts import LayerEngine, facts
from rnn.cells.gru import GRULayer
from rnn.cells.layer import Layer, LayerSpec
from rnn.cells.leaky import LeakyLayer
from rnn.cells.lstm import LSTMLayer
from rnn.cells.native import NativeLayer
from rnn.cells.vanilla import VanillaLayer
from rnn.cells.workspace import WorkspaceLayer
from unroll.contract import Cell, DType

_WORKSPACE: dict[str, Callable[[LayerSpec, Any], WorkspaceLayer]] = {
    "vanilla": VanillaLayer,
    "linear": VanillaLayer,
    "feedforward": VanillaLayer,
    "leaky": LeakyLayer,
    "lstm": LSTMLayer,
    "gru": GRULayer,
}
"""Each cell's workspace layer, by the cell's type."""


def chosen(cell: Cell, dtype: DType, device: str, replicas: int = 1, *, noisy: bool = False) -> LayerEngine:
    """Return the engine that `auto` means for layers of this cell on a device (cpu, cuda).

    On a CPU in float32 it is the native kernel. The kernel's float64 is only for oracles.
    """
    if device == "cpu" and dtype == "float32" and facts(cell).native is not None and kernels.available():
        return "native"
    return "cudnn" if cudnn.chosen(cell, device, replicas, noisy=noisy) else "workspace"


def make_layer(cell: Cell, spec: LayerSpec, engine: LayerEngine = "auto") -> Layer:
    """Make the layer that runs this cell: on the native kernel, on cuDNN or in the workspace."""
    W_xh = spec.weights["W_xh"]
    dtype: DType = "float64" if W_xh.dtype == torch.float64 else "float32"
    if engine == "auto":
        engine = chosen(cell, dtype, W_xh.device.type, len(W_xh), noisy=spec.noisy)
    if engine == "cudnn" and spec.handed_on and (len(facts(cell).states) > 1 or spec.time_steps == 1):
        # cuDNN gives c of the last step only. And a decoder that runs step by step would need a cuDNN network, with its
        # own copy of the weights, for each step.
        engine = "workspace"
    if engine == "native":
        return NativeLayer(spec, cell)
    if engine == "cudnn":
        return CuDNNLayer(spec, cell)
    return _WORKSPACE[cell.type](spec, cell)
