"""Kernels of convolutions enlarged by zeros, so that uneven padding becomes even."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from .windows import same_pads

__all__ = ["enlarge_kernels", "enlarged"]

_WEIGHT = 1
_ZERO = 2
_AXES = 2
"""Axes of a weight before the spatial ones."""

_SMALL = 1024
"""Larger constants are weights, no shapes."""

_MOST_FLOAT = 16
_MOST_INTEGER = 32
"""So many multiplications may be added to each result: to those of depthwise convolutions; in integers, to those of a
first convolution with a small kernel, too. In float the padding in front of that one costs nothing: the layout of the
input is changed there anyway."""


def enlarge_kernels(proto: Any) -> None:
    """Have convolutions of *proto* (a ModelProto) that pad one side more than the other pad both alike.

    torch's convolutions pad both sides alike, so that such padding becomes a kernel of its own, which copies all of the
    input. Zeros in the weight where the padding lacks something give the same result without it. That is done where the
    multiplications with these zeros cost less than the copy.
    """
    graph = proto.graph
    _settle_auto_pads(proto)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    makers = {value: node for node in graph.node for value in node.output}
    uses = Counter(value for node in graph.node for value in node.input)
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        value = node.input[_WEIGHT]
        dequantizing = makers.get(value)
        if dequantizing is not None and dequantizing.op_type == "DequantizeLinear" and uses[value] == 1:
            value = dequantizing.input[0] if _plain_zero(dequantizing, stored) else ""
        if value in stored and uses[value] == 1:
            _enlarge(node, stored[value], _MOST_FLOAT if value == node.input[_WEIGHT] else _MOST_INTEGER)


def enlarged(node: Any, kernel: tuple[int, ...]) -> tuple[int, ...]:
    """What `enlarge_kernels` makes of the sizes *kernel* of the window of a convolution."""
    return tuple(size + front + back for size, (front, back) in zip(kernel, _missing(node, len(kernel)), strict=True))


def _enlarge(node: Any, weight: Any, most: int) -> None:
    from onnx import helper, numpy_helper

    inner, kernel = weight.dims[1], tuple(weight.dims[_AXES:])
    if not 0 < inner * (math.prod(enlarged(node, kernel)) - math.prod(kernel)) <= most:
        return
    around = [(0, 0)] * _AXES + _missing(node, len(kernel))
    weight.CopyFrom(numpy_helper.from_array(np.pad(numpy_helper.to_array(weight), around), weight.name))
    pads, kept = _pads(node), [one for one in node.attribute if one.name not in ("pads", "kernel_shape")]
    half = len(pads) // 2
    even = [max(pair) for pair in zip(pads[:half], pads[half:], strict=True)]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("pads", even * 2)])


def _missing(node: Any, axes: int) -> list[tuple[int, int]]:
    """By spatial axis how many zeros the kernel lacks in front and behind; none where they would not do."""
    pads = _pads(node)
    dilations = _attribute(node, "dilations") or [1] * axes
    if len(pads) != 2 * axes or min(pads) < 0:
        return [(0, 0)] * axes
    differences = [end - begin for begin, end in zip(pads[:axes], pads[axes:], strict=True)]
    if any(difference % dilation for difference, dilation in zip(differences, dilations, strict=True)):
        return [(0, 0)] * axes
    steps = [difference // dilation for difference, dilation in zip(differences, dilations, strict=True)]
    return [(max(0, step), max(0, -step)) for step in steps]


def _plain_zero(node: Any, stored: Any) -> bool:
    """Whether zero is stored as zero in what *node* dequantizes."""
    from onnx import numpy_helper

    if _attribute(node, "block_size"):
        return False
    if len(node.input) <= _ZERO or not node.input[_ZERO]:
        return True
    zero = stored.get(node.input[_ZERO])
    return zero is not None and not numpy_helper.to_array(zero).any()


def _settle_auto_pads(proto: Any) -> None:
    """Write down the pads of convolutions that only say how they follow from the sizes, where these are known."""
    from onnx import helper

    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"]
    nodes = [node for node in convolutions if _attribute(node, "auto_pad") in (b"SAME_UPPER", b"SAME_LOWER")]
    sizes = _sizes(proto) if nodes else {}
    for node in nodes:
        data, weight = sizes.get(node.input[0], [0]), sizes.get(node.input[_WEIGHT], [0])
        if not (all(data) and all(weight)):
            continue
        axes = len(weight) - _AXES
        strides, dilations = (_attribute(node, name) or [1] * axes for name in ("strides", "dilations"))
        spans = [dilation * (size - 1) + 1 for size, dilation in zip(weight[_AXES:], dilations, strict=True)]
        pads = same_pads(data[_AXES:], spans, strides, upper=_attribute(node, "auto_pad") == b"SAME_UPPER")
        kept = [one for one in node.attribute if one.name != "auto_pad"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", pads)])


def _sizes(proto: Any) -> dict[str, list[int]]:
    """Of the values of *proto*, 0 where an extent is not known. Weights take no part: inference would copy them."""
    from onnx import ModelProto, helper, shape_inference

    bare = ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    bare.graph.name = "bare"
    bare.graph.node.extend(proto.graph.node)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    bare.graph.input.extend(value for value in proto.graph.input if value.name not in stored)
    for name, tensor in stored.items():
        if math.prod(tensor.dims) <= _SMALL:
            bare.graph.initializer.append(tensor)
        else:
            bare.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    graph = shape_inference.infer_shapes(bare, data_prop=True).graph
    found = {
        value.name: [int(dim.dim_value) for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
    }
    return found | {name: list(tensor.dims) for name, tensor in stored.items()}


def _pads(node: Any) -> list[int]:
    return list(_attribute(node, "pads") or [])


def _attribute(node: Any, name: str) -> Any:
    from onnx import helper

    found = next((one for one in node.attribute if one.name == name), None)
    return None if found is None else helper.get_attribute_value(found)
