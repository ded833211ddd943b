"""Uneven padding moved in front of the dequantization that it follows."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["pad_quantized"]

_ZERO = 2
_BEFORE_CHANNELS = [0, 0]

# The first whose Pad takes 8-bit integers.
_OPSET = 13


def pad_quantized(proto: Any) -> None:
    """Have convolutions of *proto* (a ModelProto) that pad one side more than the other pad quantized values instead.

    torch's convolutions pad both sides alike, so that such padding becomes an operator of its own. Between a
    DequantizeLinear and a convolution it would keep compilers from an int8 kernel; before both, filled with the zero
    point, it gives the same values.
    """
    graph = proto.graph
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    zeros = {tensor.name: tensor for tensor in graph.initializer}
    sources = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    nodes = []
    for node in graph.node:
        source = sources.get(node.input[0]) if node.op_type == "Conv" and opset >= _OPSET else None
        pads = _uneven(node) if source is not None else []
        if source is not None and pads and len(source.input) > _ZERO and _is_one(zeros.get(source.input[_ZERO])):
            nodes += _moved(graph, node, source, pads, zeros[source.input[_ZERO]])
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _uneven(node: Any) -> list[int]:
    """The pads of a convolution if they differ from side to side, else nothing."""
    pads = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "pads"), [])
    half = len(pads) // 2
    return [] if pads[:half] == pads[half:] else pads


def _is_one(zero: Any) -> bool:
    return zero is not None and all(extent == 1 for extent in zero.dims)


def _moved(graph: Any, node: Any, source: Any, pads: list[int], zero: Any) -> list[Any]:
    """Take *pads* off the convolution *node*; return the nodes that pad what *source* dequantizes, and do so then."""
    from onnx import helper, numpy_helper

    name = node.name or node.output[0]
    half = len(pads) // 2
    sides = np.array([*_BEFORE_CHANNELS, *pads[:half], *_BEFORE_CHANNELS, *pads[half:]], np.int64)
    fill = numpy_helper.to_array(zero).reshape(())
    graph.initializer.extend(
        [numpy_helper.from_array(sides, f"{name}/pads"), numpy_helper.from_array(fill, f"{name}/fill")]
    )
    inputs = [source.input[0], f"{name}/pads", f"{name}/fill"]
    padded = helper.make_node("Pad", inputs, [f"{name}/padded"], name=f"{name}/Pad")
    scaled = [f"{name}/padded", *source.input[1:]]
    dequantized = helper.make_node("DequantizeLinear", scaled, [f"{name}/data"], name=f"{name}/DequantizeLinear")
    node.input[0] = f"{name}/data"
    kept = [attribute for attribute in node.attribute if attribute.name != "pads"]
    del node.attribute[:]
    node.attribute.extend(kept)
    return [padded, dequantized]
