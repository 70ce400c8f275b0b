"""Builds an ONNX graph step by step from nodes, constants and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]
Dimensions = Sequence[int | str | None]
"""Each is a number, the name of a free size, or None for a free size without a name."""


@dataclass
class _Shared:
    """What a graph and the bodies inside it share: its constants, and the numbers that make names unique."""

    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    conversions: list[onnx.NodeProto] = field(default_factory=list)
    """Nodes that convert constants. They come before all other nodes."""
    numbers: count[int] = field(default_factory=count)


class GraphBuilder:
    """A graph under construction. The body of a Scan can use the constants of the graph around it."""

    def __init__(
        self, dtype: np.dtype[Any], stored: np.dtype[Any] | None = None, around: _Shared | None = None
    ) -> None:
        """`dtype` is the precision of the computation, `stored` that of its constants, inputs and outputs."""
        self.dtype, self.stored = dtype, stored or dtype
        self._is_body, self._shared = around is not None, around or _Shared()
        self._nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def body(self) -> GraphBuilder:
        """Return a new graph inside this one."""
        return GraphBuilder(self.dtype, self.stored, self._shared)

    def constant(self, name: str, value: Array) -> str:
        """Store a tensor of real numbers under its name, once.

        Return the name of its value in the computation's precision.
        """
        if self.dtype == self.stored:
            return self.store(name, value.astype(self.stored))
        converted = f"{name}.{self.dtype}"
        if name not in self._shared.constants:
            self.store(name, value.astype(self.stored))
            cast = helper.make_node("Cast", [name], [converted], name=f"{converted}.node", to=_element(self.dtype))
            self._shared.conversions.append(cast)
        return converted

    def store(self, name: str, array: Array) -> str:
        """Store a tensor as it is, under its name, once."""
        constants = self._shared.constants
        if name not in constants:
            # onnx would write a transposed view in the order of its memory.
            constants[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name

    def number(self, value: float) -> str:
        """Store a scalar in the precision of the computation."""
        return self.store(f"{self.dtype}.{value:g}", np.array(value, self.dtype))

    def integer(self, value: int) -> str:
        """Store a scalar in int64."""
        return self.store(f"int64.scalar.{value}", np.array(value, np.int64))

    def integers(self, *values: int) -> str:
        """Store a list of int64, as shapes and axes are."""
        return self.store("int64." + "_".join(map(str, values)), np.array(values, np.int64))

    def computed(self, value: str) -> str:
        """Convert an input from the stored precision to that of the computation."""
        return value if self.dtype == self.stored else self.add("Cast", value, to=_element(self.dtype))

    def given(self, value: str, output: str) -> str:
        """Convert from the computation's precision to the stored one, under the name of an output."""
        if self.dtype == self.stored:
            return self.add("Identity", value, output=output)
        return self.add("Cast", value, output=output, to=_element(self.stored))

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        return self.add_many(operator, inputs, [output or self.new(operator)], **attributes)[0]

    def add_many(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> list[str]:
        """Add a node with these outputs."""
        name = self.new(f"{operator}.node")
        self._nodes.append(helper.make_node(operator, list(inputs), list(outputs), name=name, **attributes))
        return list(outputs)

    def new(self, meaning: str) -> str:
        """Return a name that no other value has."""
        return f"{meaning}.{next(self._shared.numbers)}"

    def input(self, name: str, dimensions: Dimensions, dtype: Any = None) -> str:
        """Declare an input. An input that is also a constant may be left out; then it has the constant's value."""
        self.inputs.append(self._value(name, dimensions, dtype))
        return name

    def output(self, name: str, dimensions: Dimensions, dtype: Any = None) -> None:
        """Declare an output."""
        self.outputs.append(self._value(name, dimensions, dtype))

    def made(self, name: str) -> onnx.GraphProto:
        """Return the graph."""
        if self._is_body:
            return helper.make_graph(self._nodes, name, self.inputs, self.outputs)
        nodes, constants = [*self._shared.conversions, *self._nodes], list(self._shared.constants.values())
        return helper.make_graph(nodes, name, self.inputs, self.outputs, constants)

    def _value(self, name: str, dimensions: Dimensions, dtype: Any) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, _element(np.dtype(dtype or self.dtype)), list(dimensions))


def _element(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))
