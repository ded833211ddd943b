"""The precision that the heavy operators of a graph execute in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..models.dtypes import short_precision

__all__ = [
    "count_stored_weights",
    "count_weight_precisions",
    "has_float_bias",
    "has_float_weights",
    "precision_name",
    "short_precision",
    "simulated_mark",
    "stored_details",
]

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
_QUANTIZING = frozenset(("QuantizeLinear", "DynamicQuantizeLinear"))

# ONNX Runtime's product with weights in 4 or 8 bits: at this "accuracy_level" it quantizes the activations to int8.
_BLOCKED = "MatMulNBits"
_INT8_LEVEL = 4


def precision_name(counts: Mapping[str, int]) -> str:
    """ "fp32" if all counted operators execute so, else "mixed(fp32: 3, int8: 50)"; "none" without any."""
    used = {name: count for name, count in sorted(counts.items()) if count}
    if len(used) > 1:
        return f"mixed({', '.join(f'{name}: {count}' for name, count in used.items())})"
    return next(iter(used), "none")


def count_weight_precisions(graph: Any, *, integer: str = "int8") -> Counter[str]:
    """Count the heavy operators of an `onnx.GraphProto` by the precision of their weights: {"fp32": 53}.

    An operator whose weight comes out of a DequantizeLinear multiplies in float. Operators on integers count as
    *integer*, the precision that they are executed in. Products of two activations are counted only by their
    operator type.
    """
    weights = _constant_types(graph)
    floats = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    counts: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in _INTEGER:
            counts[integer] += 1
        elif node.op_type == _BLOCKED:
            levels = [attribute.i for attribute in node.attribute if attribute.name == "accuracy_level"]
            counts["int8" if levels == [_INT8_LEVEL] else "fp32"] += 1
        elif node.op_type in _HEAVY and node.input[1] in weights:
            counts[short_precision(weights[node.input[1]])] += 1
        elif node.op_type in _HEAVY and node.input[1] in floats:
            counts["fp32"] += 1
    return counts


def count_stored_weights(graph: Any) -> Counter[str]:
    """Count the weights of an `onnx.GraphProto` that are stored in 8 or 4 bits and dequantized: {"int8": 53}."""
    constants = _constant_types(graph)
    stored = (
        short_precision(constants.get(node.input[0], "")) for node in graph.node if node.op_type == "DequantizeLinear"
    )
    return Counter(name for name in stored if name in ("int8", "int4"))


def stored_details(stored: Mapping[str, int], what: str) -> dict[str, str]:
    """For `Executed.details`: what `count_stored_weights` counted, and *what* becomes of it; nothing if none."""
    if not any(stored.values()):
        return {}
    return {"quantized weights": f"{', '.join(f'{name}: {n}' for name, n in sorted(stored.items()))}, {what}"}


def simulated_mark(graph: Any, executed: Mapping[str, int]) -> tuple[str, ...]:
    """The mark of a session whose `onnx.GraphProto` quantizes activations while nothing is *executed* in int8."""
    quantizes = any(node.op_type in _QUANTIZING for node in graph.node)
    return ("int8 simulated in float",) if quantizes and not executed.get("int8") else ()


def has_float_weights(graph: Any) -> bool:
    """Whether a heavy operator of an `onnx.GraphProto` has a weight that is stored in float."""
    types = _constant_types(graph)
    heavy = (node for node in graph.node if node.op_type in _HEAVY)
    return any("float" in types.get(node.input[1], "") for node in heavy)


def has_float_bias(graph: Any) -> bool:
    """Whether a heavy operator of an `onnx.GraphProto` has a weight that is quantized and a bias that is not."""
    types = _constant_types(graph)
    quantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    biased = (node for node in graph.node if node.op_type in _HEAVY and len(node.input) > 2)
    return any(node.input[1] in quantized and "float" in types.get(node.input[2], "") for node in biased)


def _constant_types(graph: Any) -> dict[str, str]:
    from onnx.helper import tensor_dtype_to_np_dtype

    return {tensor.name: tensor_dtype_to_np_dtype(tensor.data_type).name for tensor in graph.initializer}
