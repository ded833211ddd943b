"""Which operators of a loaded .tflite file XNNPACK took over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .precision import short_precision

__all__ = ["HEAVY_OPERATORS", "Plan", "executed_precision", "read_partitions", "read_plan"]

_WEIGHT = 1
"""Position of the weight among the operands of a heavy operator."""

HEAVY_OPERATORS = frozenset(
    ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")
)
"""Operators that hold the arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Operators by name and count."""

    delegates: int
    """Connected parts of the graph that XNNPACK runs."""
    taken: Mapping[str, int]
    left: Mapping[str, int]
    """Operators that LiteRT runs in its own kernels."""
    precisions: Mapping[str, int]
    """Heavy operators by the types that they multiply: a float one with weights in 8 or 4 bits quantizes its input."""
    stored: int
    """Quantized weights that are dequantized."""
    unpacked: bool
    """Whether XNNPACK does all of that, once, when the file is loaded."""


def read_plan(interpreter: Any) -> Plan:
    """Read the plan of an interpreter whose tensors are allocated."""
    partitions = read_partitions(interpreter)
    ordinary = [op for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    given = {int(detail["index"]) for detail in interpreter.get_input_details()}
    producer = {int(output): i for i, op in enumerate(ordinary) for output in op["outputs"]}
    replaced = set[int]().union(*partitions)
    unpacking = {i for i, op in enumerate(ordinary) if op["op_name"] == "DEQUANTIZE" and _constant(op, given, producer)}
    return Plan(
        delegates=len(partitions),
        taken=Counter(op["op_name"] for i, op in enumerate(ordinary) if i in replaced),
        left=Counter(op["op_name"] for i, op in enumerate(ordinary) if i not in replaced),
        precisions=Counter(executed_precision(op) for op in ordinary if op["op_name"] in HEAVY_OPERATORS),
        stored=len(unpacking),
        unpacked=unpacking <= replaced,
    )


def read_partitions(interpreter: Any) -> list[set[int]]:
    """For each delegate the places, in the file, of the operators that it replaced; in order of their first ones.

    The interpreter lists replaced operators as before, and each delegate as one more operator behind them with the
    tensors it reads (constants among them) and writes. What lies between these is what the delegate replaced.
    """
    operators = interpreter._get_ops_details()
    ordinary = [op for op in operators if op["op_name"] != "DELEGATE"]
    producer = {int(output): i for i, op in enumerate(ordinary) for output in op["outputs"]}
    delegates = [op for op in operators if op["op_name"] == "DELEGATE"]
    return sorted((_between(delegate, ordinary, producer) for delegate in delegates), key=min)


def _constant(operator: Any, given: set[int], producer: Mapping[int, int]) -> bool:
    source = int(operator["inputs"][0])
    return source not in given and source not in producer


def _between(delegate: Any, ordinary: list[Any], producer: Mapping[int, int]) -> set[int]:
    given = {int(tensor) for tensor in delegate["inputs"]}
    found: set[int] = set()
    open_tensors = [int(tensor) for tensor in delegate["outputs"]]
    while open_tensors:
        tensor = open_tensors.pop()
        if tensor in given or tensor not in producer or producer[tensor] in found:
            continue
        found.add(producer[tensor])
        open_tensors += [int(source) for source in ordinary[producer[tensor]]["inputs"]]
    return found


def executed_precision(operator: Any) -> str:
    """The type that a heavy operator multiplies in: "fp32", "int8", ..."""
    weight, result = (_dtype(kind) for kind in (operator["operand_types"][_WEIGHT], operator["result_types"][0]))
    return short_precision(weight if weight == "int8" else result)


def _dtype(kind: Any) -> str:
    import numpy as np

    return str(np.dtype(kind).name)
