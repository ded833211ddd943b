"""What an ONNX file holds, counted before and after a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .layers import zero_points

__all__ = ["Count", "compare_counts", "count"]

_QUANTIZERS: Mapping[str, tuple[int, ...]] = {"QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2)}
"""Inputs that say how values are coded: they are no weights themselves."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """The figures of one file."""

    parameters: int
    """Values in all weights: initializers of two and more dimensions, but no scales and zero points."""
    zeros: int
    """How many of these stand for exactly zero."""
    nodes: int
    size: int
    """Bytes of the serialized model."""


def count(model: Any) -> Count:
    """Count the ModelProto *model*; the nodes of subgraphs are left out."""
    from onnx import numpy_helper

    graph = model.graph
    coding = set(_coding(graph))
    offsets = zero_points(graph)
    parameters = zeros = 0
    for tensor in graph.initializer:
        if len(tensor.dims) < 2 or tensor.name in coding:
            continue
        array = numpy_helper.to_array(tensor).astype(np.float32)
        parameters += array.size
        zeros += array.size - int(np.count_nonzero(array - offsets.get(tensor.name, np.float32(0))))
    return Count(parameters=parameters, zeros=zeros, nodes=len(graph.node), size=model.ByteSize())


def compare_counts(before: Count, after: Count) -> dict[str, str]:
    """Both, for a step's record: {"parameters": "11689512", "zeros": "0.0% -> 80.0%", "nodes": "49 -> 81", ...}."""
    return {
        "parameters": _change(f"{before.parameters}", f"{after.parameters}"),
        "zeros": _change(_share(before), _share(after)),
        "nodes": _change(f"{before.nodes}", f"{after.nodes}"),
        "bytes": _change(f"{before.size}", f"{after.size}"),
    }


def _coding(graph: Any) -> Iterator[str]:
    for node in graph.node:
        for position in _QUANTIZERS.get(node.op_type, ()):
            if position < len(node.input):
                yield node.input[position]


def _share(counted: Count) -> str:
    return f"{counted.zeros / counted.parameters:.1%}" if counted.parameters else "0.0%"


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"
