"""Every network's equations, step by step, for one replica. They run on NumPy (complex too) and torch (autograd).

The tests' oracles and the gradient check that users run take them as the reference. They do not use the engine or the
server's predictor: they are plain products and sums, make new arrays at every step, and derive nothing by hand. `xp` is
the module of the given arrays, `numpy` or `torch`; all arrays have one precision. Sources of the cells: the files of
`rnn.cells`.

A state is a dict. It has h, the layer's last output, and whatever else the cell keeps from step to step: c of an LSTM;
v, the potential, of a leaky cell that leaks potentials. Each cell's step is a function in the table `CELLS`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from rnn.cells.facts import facts
from rnn.networks import connectivity
from unroll.contract import Network


def activate(xp: ModuleType, f: str, a: Any) -> Any:
    """Return f(a). For complex numbers kinks follow the real part, so that a complex step can be taken."""
    if f == "tanh":
        return xp.tanh(a)
    if f == "sigmoid":
        return 1 / (1 + xp.exp(-a))
    if f == "softplus":
        return xp.log(1 + xp.exp(a))
    if f == "relu":
        return xp.where(a.real > 0, a, 0 * a)
    if f == "leaky_relu":
        return xp.where(a.real > 0, a, 0.01 * a)
    if f == "saturated_relu":
        return xp.where(a.real > 0, xp.where(a.real < 1, a, 0 * a + 1), 0 * a)
    return a


def start(xp: ModuleType, cell: Any, w: dict[str, Any], sequences: int) -> dict[str, Any]:
    """Return the state before the first step: zeros, or h0 (and c0) if the layer has them."""
    begin = {}
    for name, shape in facts(cell).states.items():
        zeros = xp.zeros((sequences, *shape), dtype=w["W_xh"].dtype)
        begin[name] = zeros + w[f"{name}0"] if f"{name}0" in w else zeros
    return CELLS[cell.type].start(xp, cell, begin)


def step(xp: ModuleType, cell: Any, w: dict[str, Any], x: Any, state: dict[str, Any], push: Any = 0) -> dict[str, Any]:
    """Return the state after one step of x [B, I].

    `push` is added to h, so the derivative with respect to it is that of h[t].
    """
    z = x @ w["W_xh"].T + w.get("b_x", 0)
    q: Any = state["h"] @ w["W_hh"].T + w.get("b_h", 0) if "W_hh" in w else 0
    after = CELLS[cell.type].step(xp, cell, w, z, q, state)
    return after | {"h": after["h"] + push}


def _rate(xp: ModuleType, cell: Any, _w: dict[str, Any], z: Any, q: Any, _state: dict[str, Any]) -> dict[str, Any]:
    """Compute the step of a vanilla, feed-forward (q is zero) or linear cell."""
    return {"h": activate(xp, facts(cell).activation, z + q)}


def _leaky(xp: ModuleType, cell: Any, w: dict[str, Any], z: Any, q: Any, state: dict[str, Any]) -> dict[str, Any]:
    alpha = cell.dt / (w["tau"] if "tau" in w else xp.asarray(np.asarray(cell.tau)))
    if cell.leak == "rates":
        return {"h": (1 - alpha) * state["h"] + alpha * activate(xp, cell.activation, z + q)}
    v = (1 - alpha) * state["v"] + alpha * (z + q)
    return {"h": activate(xp, cell.activation, v), "v": v}


def _leaky_start(xp: ModuleType, cell: Any, begin: dict[str, Any]) -> dict[str, Any]:
    """Return the first state of a leaky cell. If potentials leak, the layer's initial state is the potential."""
    v = begin["h"]
    return begin if cell.leak == "rates" else {"h": activate(xp, cell.activation, v), "v": v}


def _lstm(xp: ModuleType, cell: Any, _w: dict[str, Any], z: Any, q: Any, state: dict[str, Any]) -> dict[str, Any]:
    i, f, g, o = _blocks(cell, z + q)
    i, f, o = (activate(xp, "sigmoid", gate) for gate in (i, f, o))
    c = f * state["c"] + i * xp.tanh(g)
    return {"h": o * xp.tanh(c), "c": c}


def _gru(xp: ModuleType, cell: Any, _w: dict[str, Any], z: Any, q: Any, state: dict[str, Any]) -> dict[str, Any]:
    z_r, z_u, z_n = _blocks(cell, z)
    q_r, q_u, q_n = _blocks(cell, q)
    r, u = activate(xp, "sigmoid", z_r + q_r), activate(xp, "sigmoid", z_u + q_u)
    return {"h": (1 - u) * xp.tanh(z_n + r * q_n) + u * state["h"]}


def _blocks(cell: Any, rows: Any) -> list[Any]:
    """Return the part of [B, A] that belongs to each gate, [B, H]."""
    H = cell.hidden_size
    return [rows[:, k * H : (k + 1) * H] for k in range(len(facts(cell).gates))]


def _as_it_is(_xp: ModuleType, _cell: Any, begin: dict[str, Any]) -> dict[str, Any]:
    return begin


class CellEquations(NamedTuple):
    """The equations of one cell."""

    step: Callable[[ModuleType, Any, dict[str, Any], Any, Any, dict[str, Any]], dict[str, Any]]
    """Computes the next state from the weights, z = W_xh x[t] + b_x, q = W_hh h[t-1] + b_h and the state."""
    start: Callable[[ModuleType, Any, dict[str, Any]], dict[str, Any]] = _as_it_is
    """Makes the state used here, in which h is the layer's output, from a layer's initial state
    (`CellFacts.states`)."""


CELLS: dict[str, CellEquations] = {
    "vanilla": CellEquations(_rate),
    "linear": CellEquations(_rate),
    "feedforward": CellEquations(_rate),
    "leaky": CellEquations(_leaky, _leaky_start),
    "lstm": CellEquations(_lstm),
    "gru": CellEquations(_gru),
}
"""Each cell's equations, by its type."""


def layer(xp: ModuleType, cell: Any, w: dict[str, Any], x: Any, push: Any = None) -> Any:
    """Return the layer's output, [T, B, H], for x [T, B, I], from its own initial state."""
    return layer_from(xp, cell, w, x, {}, push)[0]


def layer_from(
    xp: ModuleType,
    cell: Any,
    w: dict[str, Any],
    x: Any,
    state: dict[str, Any],
    push: Any = None,
    lengths: Any = None,
) -> tuple[Any, dict[str, Any]]:
    """Return the layer's output from a given state, and the state after it.

    A sequence that has ended after `lengths` [B] steps keeps its state, whatever the padding is. `push` is [T, B, H].
    """
    state = state or start(xp, cell, w, x.shape[1])
    given = []
    for t in range(len(x)):
        after = step(xp, cell, w, x[t], state, 0 if push is None else push[t])
        if lengths is not None:
            goes_on = (lengths > t)[:, None]
            after = {name: xp.where(goes_on, after[name], state[name]) for name in state}
        state = after
        given.append(state["h"])
    return xp.stack(given), state


def outputs(
    xp: ModuleType,
    network: Network,
    tensors: dict[str, Any],
    x: Any,
    *,
    lengths: Any = None,
    steps: int = 0,
    target: Any = None,
    forced: Any = None,
    feedback: str = "identity",
    push: Any = None,
) -> Any:
    """Return y [T, B, O] (for a many_to_one network [1, B, O]), from one replica's tensors by their full names.

    x is [T, B, I], or token numbers [T, B, 1] if there is a table `embedding.E`; `lengths` [B] are its valid steps. A
    one_to_many network reads x[0] and then zero vectors, for `steps` steps. An encoder_decoder network gives `steps`
    outputs. At step t > 0 its decoder reads target[t-1] where `forced` [steps, B] is true, and feedback(y[t-1])
    elsewhere; if `forced` is None, it reads the target everywhere. `push` is added to the last layer's h: first at the
    encoder's steps, then at the decoder's.
    """
    architecture: str = network.architecture
    x = inputs(xp, network, tensors, x, steps)
    states, read = [], len(x)
    for n, w in enumerate(layers(network, tensors)):
        last = n == network.num_layers - 1
        x, state = layer_from(xp, network.cell, w, x, {}, push if last else None, lengths)
        states.append(state)
    if architecture != "encoder_decoder":
        y = x @ tensors["readout.W_hy"].T + tensors["readout.b_y"]
        return y[-1:] if architecture == "many_to_one" else y

    y = None
    decoder = layers(network, tensors, "decoder")
    given = []
    for t in range(steps):
        x = xp.zeros((x.shape[1], network.output_size), dtype=x.dtype) if t == 0 else feed_back(xp, feedback, y)
        if t > 0 and forced is not None:
            x = xp.where(forced[t][:, None], target[t - 1], x)
        for n, w in enumerate(decoder):
            pushed = push is not None and w is decoder[-1]
            states[n] = step(xp, network.cell, w, x, states[n], push[read + t] if pushed else 0)
            x = states[n]["h"]
        y = x @ tensors["readout.W_hy"].T + tensors["readout.b_y"]
        given.append(y)
    return xp.stack(given)


def inputs(xp: ModuleType, network: Network, tensors: dict[str, Any], x: Any, steps: int = 0) -> Any:
    """Return what the first layer reads, [T, B, I], for the x of `outputs`."""
    if "embedding.E" in tensors:
        x = tensors["embedding.E"][xp.asarray(x[..., 0], dtype=xp.int64)]
    if network.architecture == "one_to_many":
        x = xp.concatenate([x[:1], xp.zeros((steps - 1, *x.shape[1:]), dtype=x.dtype)])
    return x


def layers(network: Network, tensors: dict[str, Any], stack: str = "layers") -> list[dict[str, Any]]:
    """Return the tensors of each layer by their short names, the lowest layer first; stack: layers or decoder."""
    return [_below(f"{stack}.{n}.", tensors) for n in range(network.num_layers)]


def feed_back(xp: ModuleType, kind: str, y: Any) -> Any:
    """Return what a decoder that reads its own outputs reads after it has given y [B, O]."""
    if kind == "softmax":
        return xp.exp(y) / xp.exp(y).sum(-1)[..., None]
    if kind == "exp":
        return xp.exp(y)
    return activate(xp, kind, y)


def cost(xp: ModuleType, loss: Any, y: Any, target: Any, weight: Any = None) -> Any:
    """Return the loss. It is analytic, so that a complex step can be taken.

    Each step counts as often as `weight` [T, B] says.
    """
    if weight is None:
        weight = xp.ones(y.shape[:2], dtype=y.dtype)
    if loss.type == "mse":
        each = (y - target) ** 2
    elif loss.type == "bce":
        each = xp.log(1 + xp.exp(y)) - target * y
    elif loss.type == "poisson":
        each = xp.exp(y) - target * y
    else:
        each = -(target * (y - xp.log(xp.exp(y).sum(-1)[..., None]))).sum(-1)[..., None]
    total = (weight[..., None] * each).sum()
    if loss.type == "mse" and loss.over == "sequences":
        return total / (weight != 0).any(0).sum()
    return total / (weight.sum() * each.shape[-1])


def used(xp: ModuleType, network: Network, raw: dict[str, Any], replica: int = 0) -> dict[str, Any]:
    """Compute the weights that a network uses from the raw ones that are trained, as `rnn.bptt.constraints` does."""
    H, symmetry = network.cell.hidden_size, network.connectivity.symmetry
    sign_H, read_H = connectivity.signs(network), connectivity.read_units(network)
    tensors, learned = dict(raw), facts(network.cell).learned
    # Layers are numbered without a break from an encoder's to its decoder's, to draw which connections exist.
    recurrent = [full for full in raw if full.endswith(".W_hh")]
    for full, tensor in raw.items():
        name = full.rpartition(".")[2]
        if name == "W_hh":
            V = tensor.reshape(-1, H, H)
            if symmetry != "none":
                V = (V + V.swapaxes(1, 2)) / 2 if symmetry == "symmetric" else (V - V.swapaxes(1, 2)) / 2
            allowed = connectivity.mask(network, recurrent.index(full), replica)
            V = V if allowed is None else V * xp.asarray(allowed)
            if sign_H is not None:
                V = V * xp.where(V.real < 0, -1, 1) * xp.asarray(sign_H)
            tensors[full] = V.reshape(-1, H)
        elif name in learned:
            tensors[full] = learned[name].dt * (1 + xp.exp(-tensor))
        elif name == "W_hy" and read_H is not None:
            tensors[full] = tensor * xp.asarray(read_H)
    return tensors


def _below(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
