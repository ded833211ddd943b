"""Convolutions and products of one value by weights that hardly differ: one computes again what the other has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["near_twins"]

_NEARLY = 1e-3
"""Weights differ by less than this part of their own size."""
_DATA = 0
_WEIGHT = 1
_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def near_twins(graph: Any, numbers: Mapping[str, bytes]) -> dict[str, str]:
    """By the result of a node the result of the first one that computes nearly the same; what is the very same is out.

    *numbers* as `number_values` gives them.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer if not tensor.external_data}
    firsts: dict[tuple[object, ...], list[Any]] = {}
    found: dict[str, str] = {}
    for node in graph.node:
        constants = [stored[name] for name in node.input[_WEIGHT:] if name in stored]
        if node.op_type not in _OPERATORS or not 0 < len(constants) == len(node.input[_WEIGHT:]):
            continue
        attributes = sorted(one.SerializeToString(deterministic=True) for one in node.attribute)
        shapes = tuple((tensor.data_type, *tensor.dims) for tensor in constants)
        data = numbers.get(node.input[_DATA], node.input[_DATA].encode())
        siblings = firsts.setdefault((node.op_type, node.domain, data, *attributes, shapes), [])
        twin = next((one for one in siblings if _near(one, node, stored)), None)
        if twin is None:
            siblings.append(node)
        elif numbers[twin.output[0]] != numbers[node.output[0]]:
            found[node.output[0]] = twin.output[0]
    return found


def _near(one: Any, other: Any, stored: Mapping[str, Any]) -> bool:
    import numpy as np
    from onnx import numpy_helper

    for first, second in zip(one.input[_WEIGHT:], other.input[_WEIGHT:], strict=True):
        a, b = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in (first, second))
        if np.linalg.norm(a - b) > _NEARLY * np.linalg.norm(a):
            return False
    return True
