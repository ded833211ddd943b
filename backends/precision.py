"""The precision that the heavy operators of a graph execute in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

__all__ = ["count_weight_precisions", "precision_name"]

_HEAVY = frozenset(
    ("Conv", "ConvTranspose", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"),
)
_INTEGER = frozenset(
    (
        "QLinearConv",
        "ConvInteger",
        "QGemm",
        "QLinearMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
    )
)
_SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64", "int8": "int8", "uint8": "int8"}


def precision_name(counts: Mapping[str, int]) -> str:
    """ "fp32" if all counted operators execute so, else "mixed(fp32: 3, int8: 50)"; "none" without any."""
    used = {name: count for name, count in sorted(counts.items()) if count}
    if len(used) > 1:
        return f"mixed({', '.join(f'{name}: {count}' for name, count in used.items())})"
    return next(iter(used), "none")


def count_weight_precisions(graph: Any) -> Counter[str]:
    """Count the heavy operators of an `onnx.GraphProto` by the precision of their weights: {"fp32": 53}.

    An operator whose weight comes out of a DequantizeLinear multiplies in float. Products of two activations are
    counted only by their operator type.
    """
    from onnx.helper import tensor_dtype_to_np_dtype

    weights = {tensor.name: tensor_dtype_to_np_dtype(tensor.data_type).name for tensor in graph.initializer}
    floats = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    counts: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in _INTEGER:
            counts["int8"] += 1
        elif node.op_type in _HEAVY and node.input[1] in weights:
            dtype = weights[node.input[1]]
            counts[_SHORT.get(dtype, dtype)] += 1
        elif node.op_type in _HEAVY and node.input[1] in floats:
            counts["fp32"] += 1
    return counts
