r"""Backpropagation through time on one page of NumPy.

It is written to be read, and it is the oracle of all faster code. The network, for one sequence (source: the course
notes, week 7; Elman 1990), with h[0] = 0:

    h[t] = f(W_xh x[t] + b_x + W_hh h[t-1] + b_h)        f = tanh, relu or identity
    y[t] = W_hy h[t] + b_y
    L    = mean over t, batch and outputs of (y[t] - target[t])²

Its gradient: let a[t] be the argument of f, and D[t] = diag(f'(a[t])). A change of h[k] reaches the later state h[t]
through every step between them. So the chain rule gives a product of Jacobians:

    ∂h[t]/∂h[k] = ∏_{s=k+1..t} D[s] W_hh                  (the latest step leftmost)

    dL/dh[k] = Σ_{t=k..T} (∂h[t]/∂h[k])ᵀ W_hyᵀ dL/dy[t]

If the Jacobians' singular values stay below one, the terms with large t - k vanish; if above, they explode (Bengio,
Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013). The sum is never computed term by term, because it obeys a
recursion backwards in time (Werbos 1990), with dL/da[T+1] = 0:

    dL/dy[t] = 2 (y[t] - target[t]) / (T B O)
    dL/dh[t] = W_hyᵀ dL/dy[t] + W_hhᵀ dL/da[t+1]
    dL/da[t] = f'(a[t]) ∘ dL/dh[t]

    dL/dW_hh = Σ_t dL/da[t] h[t-1]ᵀ     dL/dW_xh = Σ_t dL/da[t] x[t]ᵀ     dL/db_h = dL/db_x = Σ_t dL/da[t]
    dL/dW_hy = Σ_t dL/dy[t] h[t]ᵀ       dL/db_y  = Σ_t dL/dy[t]

Each sum also runs over the batch. All arrays are float64; shapes: x [T,B,I], target and y [T,B,O], h [T+1,B,H] with
h[0] the initial state. Weights may be complex, for derivatives by a complex step; relu then follows the real part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unroll.contract import Activation

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Parameters:
    """The six parameters of one replica, or their gradients."""

    W_xh: Array
    b_x: Array
    W_hh: Array
    b_h: Array
    W_hy: Array
    b_y: Array


def activate(f: Activation, a: Array) -> Array:
    """Return f(a)."""
    if f == "tanh":
        return np.asarray(np.tanh(a))
    if f == "relu":
        return np.where(a.real > 0, a, 0)
    return a


def slope(f: Activation, h: Array) -> Array:
    """Return f'(a), expressed through h = f(a): tanh' = 1 - h², relu' = [h > 0] (0 at the kink), identity' = 1."""
    if f == "tanh":
        return 1 - h**2
    if f == "relu":
        return (h.real > 0).astype(h.dtype)
    return np.ones_like(h)


def forward(w: Parameters, x: Array, f: Activation = "tanh") -> tuple[Array, Array]:
    """Return hidden states h [T+1,B,H] and outputs y [T,B,O]."""
    T, B, _ = x.shape
    dtype = np.result_type(x, w.W_xh, w.b_x, w.W_hh, w.b_h, w.W_hy, w.b_y)
    h = np.zeros((T + 1, B, len(w.b_h)), dtype)
    for t in range(1, T + 1):
        h[t] = activate(f, x[t - 1] @ w.W_xh.T + w.b_x + h[t - 1] @ w.W_hh.T + w.b_h)
    return h, h[1:] @ w.W_hy.T + w.b_y


def loss(y: Array, target: Array) -> Any:
    """Return L, the mean squared error.

    It is complex if y is: the square is not the modulus, so that L stays analytic.
    """
    return np.mean((y - target) ** 2)


def gradients(w: Parameters, x: Array, target: Array, f: Activation = "tanh") -> tuple[float, Parameters]:
    """Return L and its gradient, computed by the recursion above."""
    h, y = forward(w, x, f)
    dy = 2 * (y - target) / y.size
    da = np.zeros_like(h)
    for t in range(len(x), 0, -1):
        later = da[t + 1] @ w.W_hh if t < len(x) else 0
        da[t] = slope(f, h[t]) * (dy[t - 1] @ w.W_hy + later)
    return float(loss(y, target)), Parameters(
        W_xh=np.einsum("tbh,tbi->hi", da[1:], x),
        b_x=da.sum((0, 1)),
        W_hh=np.einsum("tbh,tbk->hk", da[1:], h[:-1]),
        b_h=da.sum((0, 1)),
        W_hy=np.einsum("tbo,tbh->oh", dy, h[1:]),
        b_y=dy.sum((0, 1)),
    )
