"""Every cell's equations, step by step, for one replica: written once for NumPy (complex too) and for torch (autograd).

Independent of the engine and of the server's predictor: plain products and sums, new arrays at every step.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from unroll.contract import Network


def activate(xp: ModuleType, f: str, a: Any) -> Any:
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


def layer(xp: ModuleType, cell: Any, w: dict[str, Any], x: Any, push: Any = None) -> Any:
    """What the layer gives, [T, B, H], for x [T, B, I], from its own initial state."""
    return layer_from(xp, cell, w, x, {}, push)[0]


def layer_from(
    xp: ModuleType, cell: Any, w: dict[str, Any], x: Any, state: dict[str, Any], push: Any = None
) -> tuple[Any, dict[str, Any]]:
    """The same from a given state (h and c; the potential of a cell that leaks it), and the state after it.

    `push` [T, B, H] is added to each h[t] as soon as it is known: a derivative with respect to it is that of the state.
    """
    H, B = cell.hidden_size, x.shape[1]
    zeros = 0 * (x[0, :, :1] @ w["W_xh"][:H, :1].T)
    h, c = (zeros + w[name] if name in w else zeros for name in ("h0", "c0"))
    h, c = state.get("h", h), state.get("c", c)
    given = []
    for t in range(len(x)):
        z = x[t] @ w["W_xh"].T
        if "b_x" in w:
            z = z + w["b_x"]
        if cell.type == "leaky":
            alpha = cell.dt / (w["tau"] if "tau" in w else xp.asarray(np.asarray(cell.tau)))
            if cell.leak == "rates":
                h = (1 - alpha) * h + alpha * activate(xp, cell.activation, z + h @ w["W_hh"].T + w["b_h"])
                h = h if push is None else h + push[t]
                given.append(h)
            else:
                rate = given[-1] if given else activate(xp, cell.activation, h)
                h = (1 - alpha) * h + alpha * (z + rate @ w["W_hh"].T + w["b_h"])
                rate = activate(xp, cell.activation, h)
                given.append(rate if push is None else rate + push[t])
            continue
        if cell.type == "feedforward":
            h = activate(xp, cell.activation, z)
        elif cell.type == "linear":
            h = z + h @ w["W_hh"].T
        else:
            q = h @ w["W_hh"].T + w["b_h"]
            parts = [slice(k * H, (k + 1) * H) for k in range(4)]
            if cell.type == "vanilla":
                h = activate(xp, cell.activation, z + q)
            elif cell.type == "lstm":
                i, f, o = (activate(xp, "sigmoid", (z + q)[:, parts[k]]) for k in (0, 1, 3))
                c = f * c + i * xp.tanh((z + q)[:, parts[2]])
                h = o * xp.tanh(c)
            else:
                r, u = (activate(xp, "sigmoid", (z + q)[:, parts[k]]) for k in (0, 1))
                n = xp.tanh(z[:, parts[2]] + r * q[:, parts[2]])
                h = (1 - u) * n + u * h
        h = h if push is None else h + push[t]
        given.append(h)
    assert given[0].shape == (B, H)
    return xp.stack(given), {"h": h, "c": c}


def outputs(xp: ModuleType, network: Network, tensors: dict[str, Any], x: Any) -> Any:
    """y [T, B, O], or [1, B, O] of a many_to_one network, from one replica's tensors by their full names."""
    for n in range(network.num_layers):
        prefix = f"layers.{n}."
        w = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        x = layer(xp, network.cell, w, x)
    y = x @ tensors["readout.W_hy"].T + tensors["readout.b_y"]
    return y[-1:] if network.architecture == "many_to_one" else y


def cost(xp: ModuleType, loss: Any, y: Any, target: Any) -> Any:
    """The loss, every step valid; analytic, so that a complex step can be taken."""
    if loss.type == "mse":
        return ((y - target) ** 2).sum() / y.shape[1] if loss.over == "sequences" else ((y - target) ** 2).mean()
    if loss.type == "bce":
        return (xp.log(1 + xp.exp(y)) - target * y).mean()
    if loss.type == "poisson":
        return (xp.exp(y) - target * y).mean()
    return -(target * (y - xp.log(xp.exp(y).sum(-1)[..., None]))).sum(-1).mean()
