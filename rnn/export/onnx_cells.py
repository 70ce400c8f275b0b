"""The layers of a network as ONNX nodes, time first: [T, B, I] in, [T, B, H] out. Equations: `rnn.serving.cells`.

ONNX's own operators RNN, LSTM and GRU are used if they compute exactly what the cell does (`_OPERATORS`) and
onnxruntime has them, which it does in float32 only. Otherwise a Scan runs the cell's equations over time (`_STEPS`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.export.onnx_graph import GraphBuilder
from unroll.contract import Activation, Cell, LeakyCell

Array = npt.NDArray[Any]
States = dict[str, str]
"""Maps a state's short name (h, c) to the name of a value [B, H]."""

_NATIVE: dict[Activation, dict[str, Any]] = {
    "tanh": {"activations": ["Tanh"]},
    "relu": {"activations": ["Relu"]},
    "leaky_relu": {"activations": ["LeakyRelu"], "activation_alpha": [0.01]},
    "softplus": {"activations": ["Softplus"]},
    "sigmoid": {"activations": ["Sigmoid"]},
    "identity": {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]},
    # max(0, min(1, alpha a + beta))
    "saturated_relu": {"activations": ["HardSigmoid"], "activation_alpha": [1.0], "activation_beta": [0.0]},
}


class ONNXLayer:
    """One layer of one replica. Its constants have the names of the checkpoint's tensors."""

    def __init__(self, graph: GraphBuilder, place: str, cell: Cell, weights: dict[str, Array]) -> None:
        """`place` is layers.0 and so on; `weights` has short names."""
        self._graph, self._place, self._cell, self._weights = graph, place, cell, weights
        self._facts = facts(cell)
        self._names = tuple(self._facts.states) if self._facts.recurrent else ()

    def run(self, x: str, states: States) -> tuple[str, States]:
        """Add the layer over all time steps. Return its output, [T, B, H], and its states after the last step."""
        if not self._facts.recurrent:
            return self._activated(self._graph, self._facts.activation, self._projected(self._graph, x)), {}
        if self._graph.dtype == np.float32 and self._cell.type in _OPERATORS:
            return self._native(x, states)
        return self._scan(x, states)

    def step(self, graph: GraphBuilder, x: str, states: States) -> tuple[str, States]:
        """Add one time step of x [B, I] to `graph`, a body. Return its output, [B, H], and the states after it."""
        return self._recurring(graph, self._projected(graph, x), states)

    def _native(self, x: str, states: States) -> tuple[str, States]:
        graph, w, H = self._graph, self._weights, self._cell.hidden_size
        operator, order = _OPERATORS[self._cell.type]
        rows = np.concatenate([np.arange(k * H, (k + 1) * H) for k in order])
        inputs = [x]
        for name, array in (("W", w["W_xh"]), ("R", w["W_hh"])):
            inputs.append(graph.constant(f"{self._place}.{operator}.{name}", array[rows][None]))
        bias = np.concatenate([w["b_x"][rows], w["b_h"][rows]])[None] if "b_x" in w else None
        inputs.append("" if bias is None else graph.constant(f"{self._place}.{operator}.B", bias))
        inputs.append("")  # sequence_lens: all sequences of a batch are equally long
        axis_0 = graph.integers(0)
        inputs += [graph.add("Unsqueeze", states[name], axis_0) for name in self._names]
        attributes: dict[str, Any] = {"linear_before_reset": 1} if operator == "GRU" else {}
        if operator == "RNN":
            attributes = _NATIVE[self._facts.activation]
        outputs = [graph.new(f"{self._place}.{name}") for name in ("Y", *self._names)]
        graph.add_many(operator, inputs, outputs, hidden_size=H, **attributes)
        given = graph.add("Squeeze", outputs[0], graph.integers(1))
        after = (graph.add("Squeeze", last, axis_0) for last in outputs[1:])
        return given, dict(zip(self._names, after, strict=True))

    def _scan(self, x: str, states: States) -> tuple[str, States]:
        graph, H = self._graph, self._cell.hidden_size
        body = graph.body()
        width = len(self._weights["W_xh"])
        before = {name: body.input(graph.new(f"{self._place}.{name}"), [None, H]) for name in self._names}
        z = body.input(graph.new(f"{self._place}.z"), [None, width])
        given, after = self._recurring(body, z, before)
        # A body's outputs must be separate values. For most cells h is both a state and the output.
        for value in (*after.values(), given):
            body.output(body.add("Identity", value), [None, H])
        outputs = [graph.new(f"{self._place}.{name}.last") for name in self._names] + [graph.new(self._place)]
        inputs = [*states.values(), self._projected(graph, x)]
        graph.add_many("Scan", inputs, outputs, body=body.made(f"{self._place}.step"), num_scan_inputs=1)
        return outputs[-1], dict(zip(self._names, outputs, strict=False))

    def _projected(self, graph: GraphBuilder, x: str) -> str:
        """Add z = W_xh x + b_x."""
        z = graph.add("MatMul", x, self._transposed("W_xh"))
        return graph.add("Add", z, self._constant("b_x")) if "b_x" in self._weights else z

    def _recurring(self, graph: GraphBuilder, z: str, states: States) -> tuple[str, States]:
        """Add one time step, from z [B, A]."""
        return _STEPS[self._cell.type](self, graph, z, states)

    def _plain(self, graph: GraphBuilder, z: str, states: States) -> tuple[str, States]:
        q = self._recurrent(graph, states["h"])
        h = self._activated(graph, self._facts.activation, graph.add("Add", z, q))
        return h, {"h": h}

    def _leaky(self, graph: GraphBuilder, z: str, states: States) -> tuple[str, States]:
        w, cell = self._weights, self._cell
        assert isinstance(cell, LeakyCell)  # noqa: S101 - the table of steps ensures it
        tau = w["tau"].astype(graph.dtype) if "tau" in w else np.asarray(cell.tau)
        alpha = graph.store(f"{self._place}.alpha", np.atleast_1d(cell.dt / tau).astype(graph.dtype))
        rates, before = cell.leak == "rates", states["h"]
        h = before if rates else self._activated(graph, cell.activation, before)
        a = graph.add("Add", z, self._recurrent(graph, h))
        towards = self._activated(graph, cell.activation, a) if rates else a
        # (1 - alpha) before + alpha towards
        change = graph.add("Mul", graph.add("Sub", towards, before), alpha)
        after = graph.add("Add", before, change)
        return after if rates else self._activated(graph, cell.activation, after), {"h": after}

    def _lstm(self, graph: GraphBuilder, z: str, states: States) -> tuple[str, States]:
        q = self._recurrent(graph, states["h"])
        i, f, g, o = self._gates(graph, graph.add("Add", z, q), 4)
        i, f, o = (graph.add("Sigmoid", gate) for gate in (i, f, o))
        kept = graph.add("Mul", f, states["c"])
        c = graph.add("Add", kept, graph.add("Mul", i, graph.add("Tanh", g)))
        h = graph.add("Mul", o, graph.add("Tanh", c))
        return h, {"h": h, "c": c}

    def _gru(self, graph: GraphBuilder, z: str, states: States) -> tuple[str, States]:
        q = self._recurrent(graph, states["h"])
        z_r, z_u, z_n = self._gates(graph, z, 3)
        q_r, q_u, q_n = self._gates(graph, q, 3)
        r, u = (graph.add("Sigmoid", graph.add("Add", a, b)) for a, b in ((z_r, q_r), (z_u, q_u)))
        n = graph.add("Tanh", graph.add("Add", z_n, graph.add("Mul", r, q_n)))
        # (1 - u) n + u h
        h = graph.add("Add", n, graph.add("Mul", u, graph.add("Sub", states["h"], n)))
        return h, {"h": h}

    def _gates(self, graph: GraphBuilder, a: str, gates: int) -> list[str]:
        names = [graph.new("gate") for _ in range(gates)]
        return graph.add_many("Split", [a], names, axis=-1, num_outputs=gates)

    def _recurrent(self, graph: GraphBuilder, h: str) -> str:
        """Add q = W_hh h + b_h."""
        q = graph.add("MatMul", h, self._transposed("W_hh"))
        return graph.add("Add", q, self._constant("b_h")) if "b_h" in self._weights else q

    def _constant(self, name: str) -> str:
        return self._graph.constant(f"{self._place}.{name}", self._weights[name])

    def _transposed(self, name: str) -> str:
        return self._graph.constant(f"{self._place}.{name}.T", self._weights[name].T)

    def _activated(self, graph: GraphBuilder, f: Activation, a: str) -> str:
        """Add f(a).

        LeakyRelu's slope is a float32 in ONNX, so both slopes are written in the network's own precision.
        """
        if f == "identity":
            return a
        if f == "leaky_relu":
            return graph.add("Max", a, graph.add("Mul", a, graph.number(0.01)))
        if f == "saturated_relu":
            return graph.add(
                "Clip",
                a,
                graph.number(0.0),
                graph.number(1.0),
            )
        operators: dict[Activation, str] = {
            "tanh": "Tanh",
            "relu": "Relu",
            "softplus": "Softplus",
            "sigmoid": "Sigmoid",
        }
        return graph.add(operators[f], a)


_OPERATORS: dict[str, tuple[str, tuple[int, ...]]] = {
    "vanilla": ("RNN", (0,)),
    "linear": ("RNN", (0,)),
    "lstm": ("LSTM", (0, 3, 1, 2)),
    "gru": ("GRU", (1, 0, 2)),
}
"""The ONNX operator of each cell, and our gates in its order: ours are i f g o and r z n, ONNX's are i o f c and z r
h."""

_STEPS: dict[str, Callable[[ONNXLayer, GraphBuilder, str, States], tuple[str, States]]] = {
    "vanilla": ONNXLayer._plain,  # noqa: SLF001 - the class's own
    "linear": ONNXLayer._plain,  # noqa: SLF001
    "leaky": ONNXLayer._leaky,  # noqa: SLF001
    "lstm": ONNXLayer._lstm,  # noqa: SLF001
    "gru": ONNXLayer._gru,  # noqa: SLF001
}
"""One time step of each recurrent cell. A cell that is not here cannot be exported to ONNX (`formats.ONNX_CELLS`)."""
