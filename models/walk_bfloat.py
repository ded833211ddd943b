"""bfloat16 graphs for engines that have no bfloat16 kernels: float32 kernels, and every value rounded. Child only.

That is what hardware does too: products of bfloat16 are summed up in float32, and the result is rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .walk_graph import element_types, rewired

__all__ = ["widen"]


def widen(model: Any) -> bool:
    """Turn the bfloat16 values of *model* into float32 ones that are rounded to bfloat16; whether there were any."""
    import onnx

    narrow = onnx.TensorProto.BFLOAT16
    types = element_types(model)
    graph = model.graph
    if narrow not in {*types.values(), *(item.data_type for item in graph.initializer)}:
        return False
    for item in graph.initializer:
        _widen_tensor(item)
    nodes: list[Any] = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)
        rounded = [name for name in node.output if types.get(name) == narrow]
        if node.op_type == "Constant" or not rounded:
            nodes.append(node)
            continue
        if node.op_type == "Cast":
            nodes.extend(_rounding(node.input[0], node.output[0], node.name))
            continue
        wide = {name: f"wide::{name}" for name in rounded}
        nodes.append(rewired(node, {}, wide))
        for name, source in wide.items():
            nodes.extend(_rounding(source, name, name))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return True


def _widen_tensor(tensor: Any) -> None:
    import onnx

    if tensor.data_type == onnx.TensorProto.BFLOAT16:
        array = np.asarray(onnx.numpy_helper.to_array(tensor)).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _rounding(source: str, target: str, name: str) -> list[Any]:
    import onnx

    real = onnx.TensorProto
    code = f"bfloat::{target}"
    return [
        onnx.helper.make_node("Cast", [source], [code], name=f"{name}::bfloat", to=real.BFLOAT16),
        onnx.helper.make_node("Cast", [code], [target], name=f"{name}::float", to=real.FLOAT),
    ]
