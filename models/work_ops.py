"""What one ONNX node does besides multiplying: elementwise operations, and which input elements it looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .work_macs import OPERANDS, Shapes, attributes

__all__ = ["AVOIDABLE", "VIEWS", "elements_read", "elementwise_ops"]

VIEWS = frozenset(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"))
"""Operators whose output is their first input, seen in another shape."""
AVOIDABLE = VIEWS | {
    "Cast", "Concat", "DepthToSpace", "DequantizeLinear", "Expand", "Pad", "QuantizeLinear", "Slice", "SpaceToDepth",
    "Split", "Transpose",
}  # fmt: skip
"""Operators that a compiler can do without: it reads and writes where or how the neighbours want it."""

_PARTIAL = frozenset(("Gather", "GatherElements", "GatherND", "Slice"))
"""Operators that look at no more elements of their first input than they put out."""
_MOVES = (AVOIDABLE - {"Cast", "QuantizeLinear", "DequantizeLinear"}) | _PARTIAL | {
    "Constant", "ConstantOfShape", "Range", "ScatterElements", "ScatterND", "Shape", "Size", "Tile",
}  # fmt: skip
_POOLS = frozenset(("AveragePool", "LpPool", "MaxPool"))
_PER_INPUT = frozenset(
    ("ArgMax", "ArgMin", "CumSum", "DynamicQuantizeLinear", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool",
     "TopK")
)  # fmt: skip
"""Operators that do one operation for each element that they read, as all whose name begins with "Reduce"."""
_PER_OUTPUT = {
    "BatchNormalization": 2,  # factor, offset
    "DequantizeLinear": 2,  # zero point, scale
    "GroupNormalization": 7,
    "InstanceNormalization": 7,
    "LayerNormalization": 7,  # sum, difference, square, sum, scale, factor, offset
    "LogSoftmax": 5,
    "QuantizeLinear": 3,  # scale, zero point, clip
    "Softmax": 5,  # maximum, difference, exp, sum, quotient
}
_REQUANTIZING = frozenset(("QLinearConv", "QLinearMatMul", "QGemm"))


def elementwise_ops(node: Any, shape: Shapes) -> int:
    """Operations of *node* on single elements, apart from multiply-accumulates.

    One for each output element by default, whatever it costs: an exp counts as much as an addition. Moving and
    reshaping is free, and so are biases, which are what the accumulators begin with.
    """
    kind = node.op_type
    outputs = math.prod(shape(node.output[0]))
    if kind in _REQUANTIZING:
        return _PER_OUTPUT["QuantizeLinear"] * outputs
    if kind in OPERANDS or kind in _MOVES:
        return 0
    if kind in _POOLS:
        return outputs * int(math.prod(attributes(node)["kernel_shape"]))
    if kind in _PER_INPUT or kind.startswith("Reduce"):
        return math.prod(shape(node.input[0]))
    return _PER_OUTPUT.get(kind, 1) * outputs


def elements_read(node: Any, shape: Shapes) -> int:
    """How many elements of its first input *node* has to look at: windows far apart leave some out."""
    kind = node.op_type
    data = shape(node.input[0])
    if kind in _PARTIAL:
        return min(math.prod(data), math.prod(shape(node.output[0])))
    given = attributes(node)
    if kind in _POOLS:
        window = tuple(given["kernel_shape"])
    elif kind in OPERANDS and "Conv" in kind and kind not in ("ConvTranspose", "DeformConv"):
        window = shape(node.input[OPERANDS[kind]])[2:]
    else:
        return math.prod(data)
    outputs = shape(node.output[0])[2:]
    lengths = data[2:]
    axes = (_seen(given, axis, lengths[axis], outputs[axis], size) for axis, size in enumerate(window))
    return math.prod(data[:2]) * math.prod(axes)


def _seen(given: Mapping[str, Any], axis: int, length: int, outputs: int, size: int) -> int:
    """How many of *length* positions the windows of *size* along the spatial *axis* cover."""
    stride = given.get("strides", [1] * (axis + 1))[axis]
    dilation = given.get("dilations", [1] * (axis + 1))[axis]
    missing = max(0, (outputs - 1) * stride + (size - 1) * dilation + 1 - length)
    first = np.arange(outputs) * stride - _padding(given, axis, missing)
    covered = np.zeros(length, dtype=bool)
    for offset in range(0, size * dilation, dilation):
        places = first + offset
        covered[places[(places >= 0) & (places < length)]] = True
    return int(covered.sum())


def _padding(given: Mapping[str, Any], axis: int, missing: int) -> int:
    """Positions that are put before the first one; *missing* are those that all windows reach out of the input."""
    how = given.get("auto_pad", b"NOTSET")
    if how == b"SAME_UPPER":
        return missing // 2
    if how == b"SAME_LOWER":
        return missing - missing // 2
    return int(given["pads"][axis]) if "pads" in given and how == b"NOTSET" else 0
