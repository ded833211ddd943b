"""Static shapes of the values in a graph while it is being imported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["Shapes"]

# Larger constants are weights: shape inference needs their shapes only.
_SMALL = 1024


class Shapes:
    """Shapes by ONNX's shape inference; where that knows none, by a dry run of what has been imported so far.

    ONNX's inference is quick but does not follow all shape arithmetic (a division, for one). The importer has folded
    that arithmetic by then, so a dry run on torch's fake tensors knows; but it imports much of torch's compiler.
    Both start with the first question. Shapes that the file itself claims are not trusted: they may be stale.
    """

    def __init__(self, proto: Any, root: Any, graph: Any, values: Mapping[str, Any]) -> None:
        self._proto = proto
        self._values = values
        self._dry_run = _DryRun(proto, root, graph)
        self._inferred: dict[str, tuple[int, ...]] | None = None

    def of(self, name: str) -> tuple[int, ...]:
        """Shape of the ONNX value called *name*, which must have been imported already."""
        if self._inferred is None:
            self._inferred = _infer(self._proto)
        if name not in self._inferred:
            self._inferred[name] = self._dry_run.shape(self._values[name].name)
        return self._inferred[name]


class _DryRun:
    """Runs the graph on fake tensors, going on from where it stopped with each further question."""

    def __init__(self, proto: Any, root: Any, graph: Any) -> None:
        self._root = root
        self._graph = graph
        constants = {tensor.name for tensor in proto.graph.initializer}
        self._inputs = [value for value in proto.graph.input if value.name not in constants]
        self._done: dict[str, Any] = {}
        self._mode: Any = None

    def shape(self, node: str) -> tuple[int, ...]:
        """Shape of what the fx node called *node* computes."""
        if node not in self._done:
            self._continue()
        return tuple(int(size) for size in self._done[node].shape)

    def _continue(self) -> None:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode

        if self._mode is None:
            self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self._mode, torch.no_grad():
            for node in self._graph.nodes:
                if node.name not in self._done:
                    self._done[node.name] = self._run(node)

    def _run(self, node: Any) -> Any:
        if node.op == "placeholder":
            return _empty(self._inputs.pop(0))
        arguments = [self._done[a.name] if hasattr(a, "op") else a for a in node.args]
        function = self._root.get_submodule(node.target) if node.op == "call_module" else node.target
        return function(*arguments)


def _empty(value: Any) -> Any:
    import torch

    from .dtypes import torch_dtype

    tensor = value.type.tensor_type
    return torch.empty([int(dim.dim_value) for dim in tensor.shape.dim], dtype=torch_dtype(tensor.elem_type))


def _infer(proto: Any) -> dict[str, tuple[int, ...]]:
    """Fully static shapes that ONNX infers from the inputs, the nodes and the small constants of *proto* alone."""
    from onnx import ModelProto, helper, shape_inference

    bare = ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    bare.graph.name = "bare"
    bare.graph.node.extend(proto.graph.node)
    bare.graph.input.extend(proto.graph.input)
    given = {value.name for value in proto.graph.input}
    for tensor in proto.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            bare.graph.initializer.append(tensor)
        elif tensor.name not in given:
            bare.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    inferred = shape_inference.infer_shapes(bare, data_prop=True).graph
    return {
        value.name: tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if _is_static(value.type.tensor_type)
    }


def _is_static(tensor: Any) -> bool:
    return tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
