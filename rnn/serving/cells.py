"""Every cell's forward pass over padded sequences, for serving. NumPy only. Equations: the files of `rnn/cells`.

Sequences are stored in tiles of a fixed number of rows, and each product uses one tile, so that a row's bits never
depend on the rows beside it (see `rnn.serving.predictor`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from unroll.contract import Activation, Cell, LeakyCell

Array = npt.NDArray[Any]
Step = Callable[[Array, Array, dict[str, Array], dict[str, Array], Array], None]
"""Fills the new states and the output from z = W_xh x[t] + b_x, q = W_hh h[t-1] + b_h and the previous states. The
output is one of the states (see `CellFacts.output`) or has its own memory. The function may overwrite z and q."""


class Forward(NamedTuple):
    """The forward pass of one cell."""

    step: Step
    first: Callable[[dict[str, Array]], Array] | None = None
    """Computes a layer's output before its first step from its initial state, if that output is not one of the
    states."""


class NumPyLayer:
    """One layer of one replica. Its weights are transposed to contiguous memory once, for row vectors."""

    def __init__(self, cell: Cell, weights: dict[str, Array]) -> None:
        """`weights` has short names: W_xh [A, I], b_x [A], and the cell's other tensors."""
        about = facts(cell)
        self._H, self._output = about.hidden_size, about.output
        self._shapes = about.states
        self._W_xh = np.ascontiguousarray(weights["W_xh"].T)
        self._b_x = weights.get("b_x")
        self._W_hh = np.ascontiguousarray(weights["W_hh"].T) if "W_hh" in weights else None
        self._b_h = weights.get("b_h")
        if self._b_x is not None and self._b_h is not None and about.biases == "one_sum":
            self._b_x, self._b_h = self._b_x + self._b_h, None
        self._start = {name: weights.get(f"{name}0") for name in self._shapes}
        self._forward = CELLS[cell.type](cell, weights)

    def run(
        self, x_TNBI: Array, running_T: list[int], start: dict[str, Array] | None
    ) -> tuple[Array, dict[str, Array]]:
        """Return the layer's output, [T, tiles, rows, H], and its states, each [T, tiles, rows, …].

        `running_T` says how many tiles, counted from the first, still run at each step; the others stay zero. `start`
        has states [tiles, rows, …]; None: the network's own h0.
        """
        T, tiles, rows, _ = x_TNBI.shape
        z = np.matmul(x_TNBI, self._W_xh)
        if self._b_x is not None:
            z += self._b_x
        states = {name: np.zeros((T, tiles, rows, *shape), z.dtype) for name, shape in self._shapes.items()}
        before = start or {
            name: np.zeros((tiles, rows, *shape), z.dtype)
            if (own := self._start[name]) is None
            else np.broadcast_to(own, (tiles, rows, *shape)).copy()
            for name, shape in self._shapes.items()
        }
        given = np.zeros((T, tiles, rows, self._H), z.dtype) if self._output is None else states[self._output]
        recurring = before[self._output] if self._output is not None else self._first(before)
        q = np.zeros((tiles, rows, z.shape[-1]), z.dtype)
        for t, running in enumerate(running_T):
            part = slice(running)
            if self._W_hh is not None:
                np.matmul(recurring[part], self._W_hh, out=q[part])
                if self._b_h is not None:
                    q[part] += self._b_h
            now = {name: trajectory[t, part] for name, trajectory in states.items()}
            self._forward.step(
                z[t, part], q[part], {name: state[part] for name, state in before.items()}, now, given[t, part]
            )
            before = {name: trajectory[t] for name, trajectory in states.items()}
            recurring = given[t]
        return given, states

    def _first(self, before: dict[str, Array]) -> Array:
        if self._forward.first is None:
            raise TypeError("a cell that gives none of its states has to say what it gives before the first step")
        return self._forward.first(before)


def activate_in_place(f: Activation, a: Array) -> None:
    """Overwrite `a` with f(a)."""
    if f == "tanh":
        np.tanh(a, out=a)
    elif f == "relu":
        np.maximum(a, 0, out=a)
    elif f == "leaky_relu":
        np.maximum(a, a * a.dtype.type(0.01), out=a)
    elif f == "softplus":
        np.logaddexp(a, a.dtype.type(0), out=a)
    elif f == "sigmoid":
        _sigmoid_in_place(a)
    elif f == "saturated_relu":
        np.clip(a, 0, 1, out=a)


def _sigmoid_in_place(a: Array) -> None:
    # (1 + tanh(a/2))/2 neither overflows nor branches.
    a *= 0.5
    np.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def _rate(cell: Any, _weights: dict[str, Array]) -> Forward:
    """Make the forward pass of a vanilla, feed-forward (q is zero) or linear cell."""
    f = facts(cell).activation

    def step(z: Array, q: Array, before: dict[str, Array], now: dict[str, Array], given: Array) -> None:
        del before, given
        np.add(z, q, out=now["h"])
        activate_in_place(f, now["h"])

    return Forward(step)


def _leaky(cell: LeakyCell, weights: dict[str, Array]) -> Forward:
    dtype = weights["W_xh"].dtype
    alpha = (cell.dt / weights["tau"] if "tau" in weights else cell.dt / np.asarray(cell.tau)).astype(dtype)

    def leak(before: Array, towards: Array, now: Array) -> None:
        np.subtract(towards, before, out=now)
        now *= alpha
        now += before

    def rates(z: Array, q: Array, before: dict[str, Array], now: dict[str, Array], given: Array) -> None:
        del given
        z += q
        activate_in_place(cell.activation, z)
        leak(before["h"], z, now["h"])

    def potentials(z: Array, q: Array, before: dict[str, Array], now: dict[str, Array], given: Array) -> None:
        z += q
        leak(before["h"], z, now["h"])
        given[...] = now["h"]
        activate_in_place(cell.activation, given)

    def rate(before: dict[str, Array]) -> Array:
        given = before["h"].copy()
        activate_in_place(cell.activation, given)
        return given

    return Forward(rates) if cell.leak == "rates" else Forward(potentials, rate)


def _lstm(_cell: Any, _weights: dict[str, Array]) -> Forward:
    return Forward(_lstm_step)


def _lstm_step(z: Array, q: Array, before: dict[str, Array], now: dict[str, Array], given: Array) -> None:
    del given
    z += q
    h = z.shape[-1] // 4
    i, f, g, o = (z[..., k * h : (k + 1) * h] for k in range(4))
    for gate in (i, f, o):
        _sigmoid_in_place(gate)
    np.tanh(g, out=g)
    np.multiply(f, before["c"], out=now["c"])
    g *= i
    now["c"] += g
    np.tanh(now["c"], out=now["h"])
    now["h"] *= o


def _gru(_cell: Any, _weights: dict[str, Array]) -> Forward:
    return Forward(_gru_step)


def _gru_step(z: Array, q: Array, before: dict[str, Array], now: dict[str, Array], given: Array) -> None:
    del given
    h = z.shape[-1] // 3
    z[..., : 2 * h] += q[..., : 2 * h]
    _sigmoid_in_place(z[..., : 2 * h])
    r, update, n = (z[..., k * h : (k + 1) * h] for k in range(3))
    q_n = q[..., 2 * h :]
    q_n *= r
    n += q_n
    np.tanh(n, out=n)
    np.subtract(before["h"], n, out=now["h"])
    now["h"] *= update
    now["h"] += n


CELLS: dict[str, Callable[[Any, dict[str, Array]], Forward]] = {
    "vanilla": _rate,
    "linear": _rate,
    "feedforward": _rate,
    "leaky": _leaky,
    "lstm": _lstm,
    "gru": _gru,
}
"""A function for each cell's type that makes its forward pass from the cell and one replica's weights."""
