"""A plain static quantizer for the contract's nets, with onnx alone: what it makes is what runtimes expect.

Activations in uint8 over their range, weights in int8 for each output channel, biases in int32 (Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018). Weights take 7 of
the 8 bits, since kernels without VNNI add products in 16 bits, which saturate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base import Array

__all__ = ["quantize_graph"]

_WEIGHTED = ("Conv", "Gemm")
_CLIPPING = ("Relu", "Clip")
_SAME_RANGE = ("MaxPool", "Flatten")
_WEIGHT_LEVELS = 63

# The oldest whose QuantizeLinear onnx's reference evaluator knows.
_OPSET = 19


def quantize_graph(model: Any, images: Sequence[Array]) -> Any:
    """The `onnx.ModelProto` *model* with QuantizeLinear and DequantizeLinear; ranges are those over *images*."""
    from onnx import ModelProto

    quantized = ModelProto()
    quantized.CopyFrom(model)
    quantized.opset_import[0].version = _OPSET
    _Quantizer(quantized, _ranges(model, images)).run()
    return quantized


def _ranges(model: Any, images: Sequence[Array]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each float activation, zero among them."""
    from onnx import ModelProto, ValueInfoProto
    from onnx.reference import ReferenceEvaluator

    open_model = ModelProto()
    open_model.CopyFrom(model)
    source = model.graph.input[0].name
    names = [output for node in model.graph.node for output in node.output]
    del open_model.graph.output[:]
    open_model.graph.output.extend(ValueInfoProto(name=name) for name in names)
    evaluator = ReferenceEvaluator(open_model)
    calls = [[image, *evaluator.run(None, {source: image})] for image in images]
    values = dict(zip([source, *names], zip(*calls, strict=True), strict=True))
    return {
        name: (min(0.0, *(float(array.min()) for array in arrays)), max(0.0, *(float(array.max()) for array in arrays)))
        for name, arrays in values.items()
    }


class _Quantizer:
    """Rewrites one graph in place."""

    def __init__(self, model: Any, ranges: dict[str, tuple[float, float]]) -> None:
        from onnx import numpy_helper

        self.graph = model.graph
        self.ranges = ranges
        self.arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        self.nodes: list[Any] = []
        self.names: dict[str, str] = {}
        """What an activation is called once it is dequantized."""
        self.scales: dict[str, str] = {}
        """Name of the scale of each dequantized activation; its zero point is called alike, with "_zero" behind."""

    def run(self) -> None:
        """Quantize the input, all weights, and every result but those that are clipped next."""
        nodes = list(self.graph.node)
        clipped = {node.input[0] for node in nodes if node.op_type in _CLIPPING}
        last = self.graph.output[0].name
        self._convert(self.graph.input[0].name)
        for node in nodes:
            node.input[:] = [self.names.get(name, name) for name in node.input]
            if node.op_type in _WEIGHTED:
                self._weights(node)
            result = node.output[0]
            if result == last:
                node.output[0] = f"{result}_float"
            self.nodes.append(node)
            if result not in clipped:
                scale = self.scales[node.input[0]] if node.op_type in _SAME_RANGE else ""
                self._convert(node.output[0], name=result, scale=scale, final=result == last)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)

    def _convert(self, value: str, *, name: str = "", scale: str = "", final: bool = False) -> None:
        """Quantize and dequantize *value*, in the old graph called *name*, by a known *scale* or one of its own."""
        name = name or value
        if not scale:
            low, high = self.ranges[name]
            scale = self._constant(f"{name}_scale", np.array((high - low) / 255, np.float32))
            self._constant(f"{scale}_zero", np.array(round(-low / (high - low) * 255), np.uint8))
        self.names[name] = name if final else f"{name}_dequantized"
        self.scales[self.names[name]] = scale
        self._node("QuantizeLinear", [value, scale, f"{scale}_zero"], f"{name}_quantized")
        self._node("DequantizeLinear", [f"{name}_quantized", scale, f"{scale}_zero"], self.names[name])

    def _weights(self, node: Any) -> None:
        """Store the weight in int8 and the bias in int32, both by output channel."""
        weight = self.arrays[node.input[1]]
        flat = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        scales = (np.maximum(flat, np.finfo(np.float32).tiny) / _WEIGHT_LEVELS).astype(np.float32)
        levels = np.round(weight / scales.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
        source = self.scales[node.input[0]]
        step = self.arrays[source] * scales
        self._stored(node, 1, levels, scales)
        self._stored(node, 2, np.round(self.arrays[node.input[2]] / step).astype(np.int32), step)

    def _stored(self, node: Any, position: int, levels: Array, scales: Array) -> None:
        name = node.input[position]
        parts = {"levels": levels, "steps": scales, "zeros": np.zeros(len(scales), levels.dtype)}
        inputs = [self._constant(f"{name}_{part}", array) for part, array in parts.items()]
        self._node("DequantizeLinear", inputs, f"{name}_dequantized", axis=0)
        node.input[position] = f"{name}_dequantized"
        kept = [tensor for tensor in self.graph.initializer if tensor.name != name]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _constant(self, name: str, array: Array) -> str:
        from onnx import numpy_helper

        self.arrays[name] = array
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}_{op}", **attributes))
