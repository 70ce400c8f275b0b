"""Builds a network as an ONNX model, node by node.

Inputs and outputs (B: sequences, T: time steps; both are free):

    inputs             [B, T, I], or tokens [B, T] in int64; one_to_one and one_to_many read one step, T = 1
    steps              int64, a scalar: how many outputs a one_to_many or encoder_decoder writes
    layers.0.h         [B, H] or [1, H], optional: the state to start from (and layers.0.c of an LSTM); if it is left
                       out, the network's own initial state is used
    outputs            [B, T, O]; [B, O] of many_to_one and one_to_one; [B, steps, O] where there is `steps`
    layers.0.h.next    [B, H]: the state after the last step, from which `layers.0.h` continues; for an
                       encoder_decoder decoder.0.h.next

States have the same meaning as in the server's predictions: for a leaky cell that leaks potentials it is the potential.
An encoder_decoder takes no states, as its encoder reads a sequence from its start, and a feed-forward network has none.
The sequences of one call are equally long.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from rnn.cells.facts import facts
from rnn.export.onnx_cells import ONNXLayer, States
from rnn.export.onnx_graph import GraphBuilder
from unroll.contract import DType, Feedback, Network

Array = npt.NDArray[Any]
OPSET = 18
"""The opset of ONNX 1.13 (2022). Its operators have the same meaning in all later ones."""
_IR_VERSION = 8
_FEEDBACK: dict[Feedback, str] = {"identity": "Identity", "softmax": "Softmax", "sigmoid": "Sigmoid", "exp": "Exp"}


def model(
    network: Network, dtype: DType, tensors: dict[str, Array], said: dict[str, Any], arithmetic: DType | None = None
) -> bytes:
    """Return the model of one replica's tensors; `said` goes into its metadata as JSON, under the key `unroll`.

    Weights, inputs and outputs have the precision `dtype`. `arithmetic` is the precision of the computation, if it
    differs.
    """
    graph = _NetworkGraph(network, GraphBuilder(np.dtype(arithmetic or dtype), np.dtype(dtype)), tensors).made()
    made = helper.make_model(
        graph, producer_name="unroll", ir_version=_IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    said = said | {"arithmetic": arithmetic or dtype}
    helper.set_model_props(made, {"unroll": json.dumps(said, sort_keys=True)})
    onnx.checker.check_model(made)
    content: bytes = made.SerializeToString(deterministic=True)
    return content


class _NetworkGraph:
    def __init__(self, network: Network, graph: GraphBuilder, tensors: dict[str, Array]) -> None:
        self._network, self._graph, self._tensors = network, graph, tensors
        self._writes = network.architecture in {"one_to_many", "encoder_decoder"}
        cell = network.cell
        self._state_names = () if not facts(cell).recurrent else tuple(facts(cell).states)

    def made(self) -> onnx.GraphProto:
        network, graph, H = self._network, self._graph, self._network.cell.hidden_size
        x = self._inputs()
        if self._writes:
            graph.input("steps", [], np.int64)
        if network.architecture == "one_to_many":
            x = self._blank_steps_after(x)
        after = {}
        for n in range(network.num_layers):
            place = f"layers.{n}"
            x, after[place] = self._layer(place).run(x, self._start(place))
        if network.architecture == "encoder_decoder":
            y, after = self._decoded(list(after.values()))
            graph.given(graph.add("Transpose", y, perm=[1, 0, 2]), "outputs")
            graph.output("outputs", ["batch", "steps", network.output_size], graph.stored)
        elif network.architecture in {"many_to_one", "one_to_one"}:
            last = graph.add("Gather", x, graph.integer(-1), axis=0)
            graph.given(self._readout(graph, last), "outputs")
            graph.output("outputs", ["batch", network.output_size], graph.stored)
        else:
            graph.given(graph.add("Transpose", self._readout(graph, x), perm=[1, 0, 2]), "outputs")
            time = "steps" if self._writes else "time"
            graph.output("outputs", ["batch", time, network.output_size], graph.stored)
        for place, states in after.items():
            for name, value in states.items():
                graph.given(value, f"{place}.{name}.next")
                graph.output(f"{place}.{name}.next", ["batch", H], graph.stored)
        return graph.made("network")

    def _inputs(self) -> str:
        """Declare the inputs. Return what the first layer reads, [T, B, I]."""
        network, graph = self._network, self._graph
        time = 1 if network.architecture in {"one_to_one", "one_to_many"} else "time"
        if network.vocabulary_size is None:
            inputs = graph.computed(graph.input("inputs", ["batch", time, network.input_size], graph.stored))
        else:
            tokens = graph.input("inputs", ["batch", time], np.int64)
            inputs = graph.add("Gather", graph.constant("embedding.E", self._tensors["embedding.E"]), tokens, axis=0)
        self._batch = graph.add("Shape", "inputs", start=0, end=1)
        return graph.add("Transpose", inputs, perm=[1, 0, 2])

    def _start(self, place: str) -> States:
        """Return the states that a layer starts from, [B, H]: inputs, or constants if the inputs are left out."""
        graph, H = self._graph, self._network.cell.hidden_size
        start = {}
        for name in self._state_names:
            given = self._tensors.get(f"{place}.{name}0", np.zeros(H))
            value = graph.store(f"{place}.{name}", given[None].astype(graph.stored))
            if self._network.architecture != "encoder_decoder":
                graph.input(value, [None, H], graph.stored)
            value = graph.computed(value)
            start[name] = graph.add("Expand", value, graph.add("Concat", self._batch, graph.integers(1), axis=0))
        return start

    def _blank_steps_after(self, x: str) -> str:
        """Return the first input and zeros after it, which is what a one_to_many network reads."""
        graph = self._graph
        more = graph.add("Sub", graph.add("Unsqueeze", "steps", graph.integers(0)), graph.integers(1))
        shape = graph.add("Concat", more, self._batch, graph.integers(self._network.input_size), axis=0)
        return graph.add("Concat", x, self._zeros(shape), axis=0)

    def _decoded(self, states: list[States]) -> tuple[str, dict[str, States]]:
        """Return the decoder's outputs [steps, B, O] from the encoder's states, and its states after the last step."""
        network, graph, H, O = self._network, self._graph, self._network.cell.hidden_size, self._network.output_size  # noqa: E741
        places = [f"decoder.{n}" for n in range(network.num_layers)]
        body = graph.body()
        read = body.input(graph.new("read"), [None, O])
        before = [{name: body.input(graph.new(f"{p}.{name}"), [None, H]) for name in self._state_names} for p in places]
        body.input(graph.new("step"), [], np.int64)
        h, after = read, []
        for place, state in zip(places, before, strict=True):
            h, now = self._layer(place).step(body, h, state)
            after.append(now)
        y = self._readout(body, h)
        attributes: dict[str, Any] = {"axis": -1} if network.feedback == "softmax" else {}
        body.output(body.add(_FEEDBACK[network.feedback], y, **attributes), [None, O])
        for now in after:
            for value in now.values():
                body.output(body.add("Identity", value), [None, H])
        body.output(body.add("Identity", y), [None, O])

        first = self._zeros(graph.add("Concat", self._batch, graph.integers(O), axis=0))
        # This is a Scan over the step numbers instead of a Loop, because onnx's reference evaluator stacks a Loop's
        # outputs along the batch.
        numbers = graph.add("Range", graph.integer(0), "steps", graph.integer(1))
        inputs = [first, *(value for state in states for value in state.values()), numbers]
        last = [{name: graph.new(f"{place}.{name}.last") for name in self._state_names} for place in places]
        written = graph.new("written")
        outputs = [graph.new("read.last"), *(name for state in last for name in state.values()), written]
        graph.add_many("Scan", inputs, outputs, body=body.made("decoder.step"), num_scan_inputs=1)
        return written, dict(zip(places, last, strict=True))

    def _layer(self, place: str) -> ONNXLayer:
        here = f"{place}."
        weights = {name.removeprefix(here): t for name, t in self._tensors.items() if name.startswith(here)}
        return ONNXLayer(self._graph, place, self._network.cell, weights)

    def _readout(self, graph: GraphBuilder, h: str) -> str:
        W_hy = graph.constant("readout.W_hy.T", self._tensors["readout.W_hy"].T)
        b_y = graph.constant("readout.b_y", self._tensors["readout.b_y"])
        return graph.add("Add", graph.add("MatMul", h, W_hy), b_y)

    def _zeros(self, shape: str) -> str:
        zero = numpy_helper.from_array(np.zeros(1, self._graph.dtype))
        return self._graph.add("ConstantOfShape", shape, value=zero)
