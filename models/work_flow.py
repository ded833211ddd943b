"""The values of a static ONNX graph as memory traffic: how large they are stored, and who reads and writes them.

Values are counted in the form in which a good runtime stores them. Quantized graphs spell an int8 operator as
DequantizeLinear, float operator, QuantizeLinear: there the operator reads and writes the 8-bit codes. A view (Reshape,
...) is the value that it looks at. What is computed from constants alone is computed once, by the compiler, and kept in
the smallest form that it goes through: weights behind DequantizeLinear as their codes and scales.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .dtypes import tensor_bytes
from .errors import UserError
from .graph import name_nodes
from .walk_graph import reads
from .work_ops import VIEWS, elements_read

__all__ = ["SEEN_THROUGH", "Flow", "Traffic", "read_flow"]

SEEN_THROUGH = VIEWS | {"QuantizeLinear", "DequantizeLinear"}
"""Operators whose neighbours read and write in their place."""

_STATIC = frozenset(("Shape", "Size"))
"""Operators whose output is known without their input's values, as shapes are static."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes that a node has to move, by the stored value."""

    reads: Mapping[str, int]
    weights: Mapping[str, int]
    writes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A graph whose shapes are all known."""

    graph: Any
    """The `onnx.GraphProto`, all nodes named, functions inlined."""
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, int]
    """Element types, members of `onnx.TensorProto.DataType`."""
    maker: Mapping[str, Any]
    """Value -> the node that computes it; inputs and initializers have none."""
    readers: Mapping[str, Sequence[Any]]
    constants: Mapping[str, int]
    """Bytes, in its smallest form, of every value that does not depend on the graph's inputs."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Static shape of the value *name*. Raises `UserError` where it is not known."""
        if name not in self.shapes:
            node = self.maker.get(name)
            where = f" (made by {node.op_type} {node.name!r})" if node is not None else ""
            raise UserError(
                f"value {name!r}{where} has no static shape, and work is counted over static shapes; "
                "export the model with fixed shapes"
            )
        return self.shapes[name]

    def bytes(self, name: str) -> int:
        """Size of the value *name* in its own type."""
        return tensor_bytes(self.types[name], math.prod(self.shape(name)))

    def width(self, name: str) -> int:
        """Bytes of one element of the value *name*; one where several share a byte."""
        return max(1, tensor_bytes(self.types[name], 1))

    def coded(self, name: str) -> str:
        """The value that *name* is dequantized from, or a view of; *name* itself where it is neither."""
        while (node := self.maker.get(name)) is not None:
            if node.op_type not in VIEWS and node.op_type not in ("DequantizeLinear", "Transpose"):
                break
            name = node.input[0]
        return name

    def stored(self, name: str) -> str:
        """The value that has to be read for *name*: views and dequantizing seen through.

        Codes of a graph input are no stored value: the float input has to be read for them.
        """
        node = self.maker.get(name)
        while node is not None and name not in self.constants:
            if node.op_type == "QuantizeLinear":
                source = self.stored(node.input[0])
                return name if source in self.maker else source
            if node.op_type not in VIEWS and node.op_type != "DequantizeLinear":
                break
            name = node.input[0]
            node = self.maker.get(name)
        return name

    def written(self, name: str) -> set[str]:
        """The stored values that who computes *name* has to write: codes where it is quantized only."""
        ends = {self.stored(name)} if any(name == output.name for output in self.graph.output) else set()
        for node in self.readers.get(name, ()):
            if node.op_type in _STATIC:
                continue
            seen_through = node.op_type in VIEWS or node.op_type == "DequantizeLinear"
            if seen_through and node.input[0] == name:
                ends |= self.written(node.output[0])
            elif node.op_type == "QuantizeLinear" and node.input[0] == name:
                ends.add(node.output[0])
            else:
                ends.add(self.stored(name))
        return ends

    def traffic(self, node: Any) -> Traffic:
        """What *node* reads and writes, in stored form. For QuantizeLinear and DequantizeLinear see `own_traffic`."""
        read: dict[str, int] = {}
        for place, name in enumerate(reads(node)):
            if name not in self.constants:
                value = self.stored(name)
                size = self._looked_at(node, name, value) if place == 0 else self.bytes(value)
                read[value] = max(read.get(value, 0), size)
        values = set().union(*(self.written(name) for name in node.output if name))
        return Traffic(reads=read, weights=self._weights(node), writes={value: self.bytes(value) for value in values})

    def own_traffic(self, node: Any) -> Traffic:
        """What *node* reads and writes as the graph has it: nothing for a view."""
        if node.op_type in VIEWS:
            return Traffic(reads={}, weights={}, writes={})
        return Traffic(
            reads={name: self.bytes(name) for name in reads(node) if name not in self.constants},
            weights=self._weights(node),
            writes={name: self.bytes(name) for name in node.output if name},
        )

    def _looked_at(self, node: Any, name: str, value: str) -> int:
        seen, whole = elements_read(node, self.shape), math.prod(self.shape(name))
        return self.bytes(value) * seen // whole if whole else 0

    def _weights(self, node: Any) -> dict[str, int]:
        found = {}
        for place, name in enumerate(reads(node)):
            if name in self.constants:
                size = self.constants[name]
                found[name] = min(size, self._looked_at(node, name, name)) if place == 0 else size
        return found


def read_flow(model: Any, *, batches: bool = False) -> Flow:
    """The values of *model* (an `onnx.ModelProto`, which stays as it is).

    Raises `UserError` for a graph input with a dynamic dimension, a value whose shape cannot be inferred, or, unless
    *batches* are asked for, a batch of more than one.
    """
    import onnx
    from onnx.inliner import inline_local_functions

    if model.functions:
        model = inline_local_functions(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    _refuse([value for value in model.graph.input if value.name not in weights], batches)
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    name_nodes(graph)
    shapes, types = _signatures(graph)
    maker = {name: node for node in graph.node for name in node.output if name}
    readers = defaultdict(list)
    for node in graph.node:
        for name in dict.fromkeys(reads(node)):
            readers[name].append(node)
    flow = Flow(graph=graph, shapes=shapes, types=types, maker=maker, readers=readers, constants={})
    return Flow(graph=graph, shapes=shapes, types=types, maker=maker, readers=readers, constants=_constants(flow))


def _refuse(inputs: Sequence[Any], batches: bool) -> None:
    for value in inputs:
        kind = value.type.tensor_type
        known = kind.shape.dim if kind.HasField("shape") else [type(kind.shape).Dimension()]
        dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in known]
        words = "x".join(str(dim) for dim in dims)
        if any(not isinstance(dim, int) or dim < 1 for dim in dims):
            raise UserError(
                f"input {value.name!r} is {words}, and work is counted over static shapes; "
                "export the model with fixed shapes"
            )
        if len(dims) > 1 and dims[0] != 1 and not batches:
            raise UserError(
                f"input {value.name!r} is {words}, a batch of {dims[0]}, and work is counted for one input; "
                "export the model with batch 1"
            )


def _signatures(graph: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shapes and element types of all values; one whose shape is not wholly known is left out of the first."""
    shapes = {tensor.name: tuple(int(dim) for dim in tensor.dims) for tensor in graph.initializer}
    types = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        kind = value.type.tensor_type
        types.setdefault(value.name, int(kind.elem_type))
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes.setdefault(value.name, tuple(int(dim.dim_value) for dim in kind.shape.dim))
    return shapes, types


def _constants(flow: Flow) -> dict[str, int]:
    """Bytes of the smallest form of each value that is known without the graph's inputs."""
    sizes = {tensor.name: flow.bytes(tensor.name) for tensor in flow.graph.initializer}
    for node in flow.graph.node:
        names = list(reads(node))
        if node.op_type in _STATIC:
            sizes[node.output[0]] = flow.bytes(node.output[0])
        elif all(name in sizes for name in names) and not node.op_type.startswith("Random"):
            source = sum(sizes[name] for name in names) if names else math.inf
            sizes |= {name: int(min(flow.bytes(name), source)) for name in node.output if name}
    return sizes
