"""Static shapes of the values in a graph while it is being imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .node import Tensor

__all__ = ["Shapes"]

# Larger constants are weights: shape inference needs their shapes only.
_SMALL = 1024


class Shapes:
    """Shapes by ONNX's shape inference, from the graph's inputs, its nodes, and the constants known so far.

    ONNX's inference by itself does not follow all shape arithmetic (a division, for one). The importer folds that
    arithmetic, so what was not known before may be known when the question comes: then inference runs once more.
    Shapes that the file itself claims are not trusted: they may be stale.
    """

    def __init__(self, proto: Any, constants: Mapping[str, Tensor]) -> None:
        self._proto = proto
        self._constants = constants
        self._known: dict[str, tuple[int, ...]] = {}

    def of(self, name: str) -> tuple[int, ...]:
        """Shape of the ONNX value called *name*. Raises `KeyError` if it cannot be inferred."""
        if name not in self._known:
            self._known = _infer(self._proto, self._constants)
        return self._known[name]


def _infer(proto: Any, constants: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    from onnx import ModelProto, shape_inference

    bare = ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    bare.graph.name = "bare"
    bare.graph.node.extend(node for node in proto.graph.node if not all(name in constants for name in node.output))
    bare.graph.input.extend(value for value in proto.graph.input if value.name not in constants)
    for name, value in constants.items():
        _add_constant(bare.graph, name, value)
    inferred = shape_inference.infer_shapes(bare, data_prop=True).graph
    return {
        value.name: tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info)
        if _is_static(value.type.tensor_type)
    }


def _add_constant(graph: Any, name: str, value: Tensor) -> None:
    from onnx import helper, numpy_helper

    from .dtypes import onnx_element_type

    # NumPy has no bfloat16; nor does any shape depend on one.
    if value.numel() <= _SMALL and "bfloat16" not in str(value.dtype):
        graph.initializer.append(numpy_helper.from_array(value.numpy(), name))
    else:
        graph.input.append(helper.make_tensor_value_info(name, onnx_element_type(value.dtype), value.shape))


def _is_static(tensor: Any) -> bool:
    return tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
