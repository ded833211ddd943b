"""The walk over an ONNX graph that builds the `torch.fx.GraphModule`."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.errors import BakeoffError, StageError, UnsupportedError
from . import (
    ops_constant,
    ops_elementwise,
    ops_gather,
    ops_integer,
    ops_linear,
    ops_norm,
    ops_pool,
    ops_quant,
    ops_reduce,
    ops_resize,
    ops_shape,
)
from .dtypes import tensor_of
from .kernels import enlarge_kernels
from .names import Names
from .node import Converter, OnnxNode, Step, Tensor, unsupported
from .padding import pad_quantized
from .shapes import Shapes
from .signs import Signs
from .unsigned import shift_to_unsigned

__all__ = ["Imported", "import_onnx", "supported_ops"]

_GROUPS = (
    ops_constant, ops_elementwise, ops_gather, ops_integer, ops_linear, ops_norm, ops_pool, ops_quant, ops_reduce,
    ops_resize, ops_shape,
)  # fmt: skip

_QUANTIZING = ("DynamicQuantizeLinear", "QuantizeLinear")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A graph imported from ONNX."""

    module: Any
    """`torch.fx.GraphModule` in eval mode; takes the graph's inputs in order, returns a tuple of its outputs."""
    onnx_names: Mapping[str, str]
    """ONNX node name (of a nameless node its first output) by module name, which is also the fx node's name."""
    quantized: bool
    """Whether it quantizes or dequantizes anything when it runs; weights alone are dequantized at import."""


def supported_ops() -> frozenset[str]:
    """The operators (of ONNX's own domain) that the importer knows."""
    return frozenset(_table())


def import_onnx(model: Path, *, stage: str = "compile", even: bool = False, zero_pads: bool = False) -> Imported:
    """Import the ONNX file *model*, whose inputs must have static shapes.

    *even*: where convolutions pad one side more than the other, enlarge their kernels, if that is faster in torch.
    *zero_pads*: pad with zeros in front of a MaxPool whose input is never negative, which gives the same maximum;
    torch's own pooling pads with the lowest number, which not every compiler has a fast kernel for.

    What depends on shapes and constants alone is computed at once. Raises `UnsupportedError` with the node and its
    operator for what the importer lacks, `StageError` for a graph that contradicts itself; both name *stage*.
    """
    import onnx
    from onnx import inliner

    proto = onnx.load(model)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    shift_to_unsigned(proto)
    if even:
        enlarge_kernels(proto)
    pad_quantized(proto)
    return _Walk(proto, stage, zero_pads=zero_pads).imported()


def _table() -> dict[str, Converter]:
    return {name: converter for group in _GROUPS for name, converter in group.converters().items()}


class _Walk:
    """State of one import: what is known of each value so far."""

    def __init__(self, proto: Any, stage: str, *, zero_pads: bool) -> None:
        import torch

        self.proto = proto
        self.stage = stage
        self.zero_pads = zero_pads
        self.signs = Signs()
        self.table = _table()
        self.opsets = {entry.domain.replace("ai.onnx", ""): entry.version for entry in proto.opset_import}
        self.root = torch.nn.Module()
        self.graph = torch.fx.Graph()
        self.values: dict[str, Any] = {}
        self.constants: dict[str, Tensor] = {}
        self.onnx_names: dict[str, str] = {}
        self.quantized = False
        self.weights_only = not any(node.op_type in _QUANTIZING for node in proto.graph.node)
        self.shapes = Shapes(proto, self.constants)
        # Nodes choose first, so that no input or output of the graph takes a node's name away.
        names = Names(dir(self.root))
        self.module_names = [names.take(node.name or f"{node.op_type}_{node.output[0]}") for node in proto.graph.node]
        self.names = names

    def imported(self) -> Imported:
        """Walk the graph once."""
        import torch

        graph = self.proto.graph
        for tensor in graph.initializer:
            self.constants[tensor.name] = self._constant(tensor)
        for value in graph.input:
            if value.name not in self.constants:
                name = self.names.take(value.name)
                self.values[value.name] = self.graph.create_node("placeholder", name, name=name)
        for proto, name in zip(graph.node, self.module_names, strict=True):
            node = self._view(proto)
            self._import_node(node, name)
            self.signs.see(node)
        self.graph.output(tuple(self._value(value.name) for value in graph.output))
        module = torch.fx.GraphModule(self.root, self.graph).eval()
        return Imported(module=module, onnx_names=self.onnx_names, quantized=self.quantized)

    def _constant(self, tensor: Any) -> Tensor:
        try:
            return tensor_of(tensor)
        except ValueError as error:
            reason = f"the torch importer cannot import the constant {tensor.name!r}: {error}"
            raise UnsupportedError(reason, blame="importer", stage=self.stage) from error

    def _view(self, node: Any) -> OnnxNode:
        domain = node.domain.replace("ai.onnx", "") if node.domain == "ai.onnx" else node.domain
        return OnnxNode(
            name=node.name or node.output[0],
            op_type=node.op_type,
            domain=domain,
            opset=self.opsets.get(domain, 0),
            attributes={attribute.name: _attribute(attribute) for attribute in node.attribute},
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            constants={i: self.constants[name] for i, name in enumerate(node.input) if name in self.constants},
            shape_of=self._shape,
            stage=self.stage,
            weights_only=self.weights_only,
            zero_pads=self.zero_pads and bool(node.input) and self.signs.never_negative(node.input[0]),
        )

    def _shape(self, name: str) -> tuple[int, ...]:
        try:
            return self.shapes.of(name)
        except KeyError:
            reason = f"the shape of {name!r} depends on the input data or cannot be inferred"
            raise UnsupportedError(reason, blame="importer", stage=self.stage) from None

    def _import_node(self, node: OnnxNode, name: str) -> None:
        if node.domain or node.op_type not in self.table:
            raise unsupported(node)
        try:
            step = self.table[node.op_type](node)
            if not step.arguments and step.fold:
                self._fold(node, step)
            else:
                self._emit(node, step, name)
        except (BakeoffError, MemoryError):
            raise
        except Exception as error:
            reason = f"{node.op_type} at node {node.name!r} cannot be imported: {type(error).__name__}: {error}"
            raise StageError(reason, blame="importer", stage=self.stage) from error

    def _fold(self, node: OnnxNode, step: Step) -> None:
        import torch

        with torch.inference_mode(False), torch.no_grad():
            result = step.module()
        results = result if step.many else (result,)
        self.constants.update(zip(node.outputs, results, strict=False))

    def _emit(self, node: OnnxNode, step: Step, name: str) -> None:
        for position in step.arguments:
            if node.inputs[position] not in self.values:
                raise unsupported(node, f"its input {node.inputs[position]!r} is computed by nothing in the graph")
        self.root.add_module(name, step.module)
        arguments = tuple(self.values[node.inputs[position]] for position in step.arguments)
        made = self.graph.create_node("call_module", name, arguments, name=name)
        self.onnx_names[name] = node.name
        self.quantized = self.quantized or node.op_type in (*_QUANTIZING, "DequantizeLinear")
        if not step.many:
            self.values[node.outputs[0]] = made
            return
        for i, output in enumerate(node.outputs):
            item = self.names.take(f"{name}_out{i}")
            self.values[output] = self.graph.create_node("call_function", operator.getitem, (made, i), name=item)

    def _value(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        if name not in self.constants:
            raise StageError(f"nothing computes the graph's output {name!r}", blame="exporter", stage=self.stage)
        buffer = self.names.take(name)
        self.root.register_buffer(buffer, self.constants[name])
        return self.graph.create_node("get_attr", buffer, name=buffer)


def _attribute(proto: Any) -> Any:
    from onnx import TensorProto, helper

    value = helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, TensorProto):
        return tensor_of(value)
    if isinstance(value, (str, int, float)):
        return value
    try:
        return [item.decode() if isinstance(item, bytes) else item for item in value]
    except TypeError:
        return value
