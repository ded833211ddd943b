"""Multiply-accumulates of one ONNX node, by its operands' shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["OPERANDS", "Shapes", "attributes", "multiplies_unseen", "node_macs", "winograd_macs"]

Shapes = Callable[[str], tuple[int, ...]]
"""The static shape of a value, by its name."""

_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "DeformConv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
_PRODUCTS = {
    "Gemm": 1,
    "FusedGemm": 1,
    "QGemm": 3,
    "MatMul": 1,
    "FusedMatMul": 1,
    "QLinearMatMul": 3,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulNBits": 1,
}
OPERANDS = {**_CONVOLUTIONS, **_PRODUCTS}
"""Convolutions and products of matrices: which input is multiplied with the first one."""

_UNSEEN = frozenset(
    ("If", "Loop", "Scan", "MatMulBnb4", "QAttention", "MultiHeadAttention", "GroupQueryAttention", "FusedConvGru")
)
"""Operators that multiply in a way that is not counted here, bodies of loops among them."""
_STANDARD = ("", "ai.onnx")

_WINOGRAD_TILES = (2, 4)
"""Output pixels along the side of a tile, F(2x2, 3x3) and F(4x4, 3x3), which runtimes use in fp32."""


def node_macs(node: Any, shape: Shapes) -> int:
    """Multiply-accumulates of *node* by the textbook's algorithm: 0 where it does not multiply two operands.

    Positions in the padding count, as everybody counts them. A transposed convolution counts what falls outside of its
    output too.
    """
    formula = _FORMULAS.get(node.op_type)
    return formula(node, shape) if formula is not None and not multiplies_unseen(node) else 0


def winograd_macs(node: Any, shape: Shapes) -> int:
    """Multiplications that Winograd's algorithm leaves of `node_macs`, at most as many as these.

    It applies to dense 3x3 convolutions with stride 1, whose products it brings down by up to four, at the price of
    additions and of rounding errors. Its transforms are not counted.
    """
    direct = node_macs(node, shape)
    if node.op_type not in ("Conv", "FusedConv"):
        return direct
    weight, given = shape(node.input[1]), attributes(node)
    plain = all(set(given.get(name, [1])) == {1} for name in ("strides", "dilations"))
    if weight[2:] != (3, 3) or given.get("group", 1) != 1 or not plain:
        return direct
    batch, _, height, width = shape(node.output[0])
    tiles = (math.ceil(height / side) * math.ceil(width / side) * (side + 2) ** 2 for side in _WINOGRAD_TILES)
    return min(direct, batch * weight[0] * weight[1] * min(tiles))


def multiplies_unseen(node: Any) -> bool:
    """Whether *node* may multiply matrices in a way that `node_macs` does not know, and so counts as nothing."""
    kind = node.op_type
    if kind == "Einsum":
        return len(node.input) > 2 or b"..." in attributes(node)["equation"]
    return kind in _UNSEEN or (kind == "Attention" and node.domain not in _STANDARD)


def attributes(node: Any) -> dict[str, Any]:
    """Attributes of *node* by name: numbers, lists of numbers, bytes."""
    from onnx.helper import get_attribute_value

    return {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}


def _convolution(node: Any, shape: Shapes) -> int:
    return math.prod(shape(node.output[0])) * math.prod(shape(node.input[_CONVOLUTIONS[node.op_type]])[1:])


def _transposed(node: Any, shape: Shapes) -> int:
    return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])


def _product(node: Any, shape: Shapes) -> int:
    """Outputs, times what each of them sums up."""
    left, given = shape(node.input[0]), attributes(node)
    depth = given["K"] if node.op_type == "MatMulNBits" else left[-2 if given.get("transA", 0) else -1]
    return math.prod(shape(node.output[0])) * int(depth)


def _recurrent(node: Any, shape: Shapes) -> int:
    """Every step multiplies its input by W and its state by R."""
    steps, batch, _ = shape(node.input[0])
    return steps * batch * sum(math.prod(shape(name)) for name in node.input[1:3])


def _attention(node: Any, shape: Shapes) -> int:
    """Scores and weighted sums of the operator of opset 23: inputs Q, K, V, then mask, past key and past value."""
    query, key, out = (shape(name) for name in (node.input[0], node.input[1], node.output[0]))
    past = shape(node.input[4])[-2] if len(node.input) > 4 and node.input[4] else 0
    return (key[-2] + past) * (math.prod(query) + math.prod(out))


def _einsum(node: Any, shape: Shapes) -> int:
    """A contraction of two operands multiplies once for each combination of all indices."""
    if len(node.input) < 2:
        return 0
    terms = attributes(node)["equation"].decode().replace(" ", "").partition("->")[0].split(",")
    dims = [shape(name) for name in node.input]
    extents = {index: n for term, axes in zip(terms, dims, strict=True) for index, n in zip(term, axes, strict=True)}
    return math.prod(extents.values())


_FORMULAS: Mapping[str, Callable[[Any, Shapes], int]] = {
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    **dict.fromkeys(_PRODUCTS, _product),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "ConvTranspose": _transposed,
    "Attention": _attention,
    "Einsum": _einsum,
}
