"""The equations of a network whose sequences are cut into windows, for NumPy and torch.

A window starts from given states, and no gradient flows back through them, as in truncated backpropagation through
time. A window as long as the sequences is the whole network. The gradient check and the tests' oracles compose
`rnn.reference.equations` here. An encoder_decoder has no windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from rnn.reference import equations
from unroll.contract import Network

Layer = Callable[..., tuple[Any, dict[str, Any]]]
"""A function that is called like `equations.layer_from` and replaces it. It may record its arguments and results."""


def parts(steps: int, window: int | None) -> list[slice]:
    """Return the windows of so many steps. The last one may be shorter; None: one window of all steps."""
    length = window or steps
    return [slice(start, min(start + length, steps)) for start in range(0, steps, length)]


def run(
    xp: ModuleType,
    network: Network,
    tensors: dict[str, Any],
    x: Any,
    part: slice,
    states: Sequence[dict[str, Any]] = (),
    *,
    steps: int = 0,
    push: Any = None,
    lengths: Any = None,
    layer: Layer = equations.layer_from,
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Run one window, and return the h [T, B, H] of every layer in it and the layers' states after it.

    `tensors` are one replica's, by their full names; `x`, `steps` and `lengths` are those of the whole sequences, as in
    `equations.outputs`. `states` are the layers' states at the start of the window; () means the network's own initial
    states. `push` is added to the last layer's h in this window.
    """
    below = equations.inputs(xp, network, tensors, x, steps)[part]
    left = None if lengths is None else lengths - part.start
    given, after = [], []
    for n, w in enumerate(equations.layers(network, tensors)):
        pushed = push if n == network.num_layers - 1 else None
        below, state = layer(xp, network.cell, w, below, states[n] if states else {}, pushed, left)
        given.append(below)
        after.append(state)
    return given, after
