"""Which operators of a loaded .tflite file XNNPACK took over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Plan", "read_plan"]

_HEAVY = frozenset(("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"))
_SHORT = {"float32": "fp32", "float16": "fp16", "int8": "int8", "uint8": "int8"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Operators by name and count."""

    delegates: int
    """Connected parts of the graph that XNNPACK runs."""
    taken: Mapping[str, int]
    left: Mapping[str, int]
    """Operators that LiteRT runs in its own kernels."""
    precisions: Mapping[str, int]
    """Heavy operators by the dtype of their results."""


def read_plan(interpreter: Any) -> Plan:
    """Read the plan of an interpreter whose tensors are allocated.

    The interpreter lists replaced operators as before, and each delegate as one more operator behind them with the
    tensors it reads (constants among them) and writes. What lies between these is what the delegate replaced.
    """
    operators = interpreter._get_ops_details()
    delegates = [op for op in operators if op["op_name"] == "DELEGATE"]
    ordinary = [op for op in operators if op["op_name"] != "DELEGATE"]
    producer = {int(output): i for i, op in enumerate(ordinary) for output in op["outputs"]}
    replaced: set[int] = set()
    for delegate in delegates:
        replaced |= _between(delegate, ordinary, producer)
    return Plan(
        delegates=len(delegates),
        taken=Counter(op["op_name"] for i, op in enumerate(ordinary) if i in replaced),
        left=Counter(op["op_name"] for i, op in enumerate(ordinary) if i not in replaced),
        precisions=Counter(_precision(op) for op in ordinary if op["op_name"] in _HEAVY),
    )


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
    import numpy as np

    name = str(np.dtype(operator["result_types"][0]).name)
    return _SHORT.get(name, name)
