"""Which operators of a loaded .tflite file XNNPACK took over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .precision import short_precision

__all__ = ["Plan", "read_plan"]

_WEIGHT = 1
"""Position of the weight among the operands of a heavy operator."""

_HEAVY = frozenset(("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"))


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
    """Read the plan of an interpreter whose tensors are allocated.

    The interpreter lists replaced operators as before, and each delegate as one more operator behind them with the
    tensors it reads (constants among them) and writes. What lies between these is what the delegate replaced.
    """
    operators = interpreter._get_ops_details()
    delegates = [op for op in operators if op["op_name"] == "DELEGATE"]
    ordinary = [op for op in operators if op["op_name"] != "DELEGATE"]
    given = {int(detail["index"]) for detail in interpreter.get_input_details()}
    producer = {int(output): i for i, op in enumerate(ordinary) for output in op["outputs"]}
    replaced: set[int] = set()
    for delegate in delegates:
        replaced |= _between(delegate, ordinary, producer)
    unpacking = {i for i, op in enumerate(ordinary) if op["op_name"] == "DEQUANTIZE" and _constant(op, given, producer)}
    return Plan(
        delegates=len(delegates),
        taken=Counter(op["op_name"] for i, op in enumerate(ordinary) if i in replaced),
        left=Counter(op["op_name"] for i, op in enumerate(ordinary) if i not in replaced),
        precisions=Counter(_precision(op) for op in ordinary if op["op_name"] in _HEAVY),
        stored=len(unpacking),
        unpacked=unpacking <= replaced,
    )


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


def _precision(operator: Any) -> str:
    weight, result = (_dtype(kind) for kind in (operator["operand_types"][_WEIGHT], operator["result_types"][0]))
    return short_precision(weight if weight == "int8" else result)


def _dtype(kind: Any) -> str:
    import numpy as np

    return str(np.dtype(kind).name)
