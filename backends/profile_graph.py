"""The ONNX file behind a profile, as readers need it: who makes which value, and whose weights have which content."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .base import Array

__all__ = ["HeavyNode", "ProfiledGraph", "as_in_file", "content_of", "read_profiled_graph"]

_HEAVY = {
    "Conv": 1,
    "ConvInteger": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "MatMul": 1,
    "MatMulInteger": 1,
    "MatMulNBits": 1,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
}
"""Operators that hold the arithmetic, and where among their inputs the weight is."""

_STEPS_LIMIT = 4
"""So many operators may lie between a stored weight and the node that multiplies with it."""


@dataclass(frozen=True, kw_only=True)
class HeavyNode:
    """A convolution or a product whose weight is constant."""

    name: str
    op_type: str
    weights: tuple[Array, ...]
    """The weight as the node takes it and as it is stored (levels of int8, say), the former first."""
    bias: Array | None

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """As the node takes it."""
        return tuple(self.weights[0].shape)


class ProfiledGraph:
    """One ONNX graph with names: a nameless node is called after its first output."""

    def __init__(self, model: Any) -> None:
        graph = model.graph
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.nodes: dict[str, Any] = {node.name or node.output[0]: node for node in graph.node}
        self.maker: dict[str, str] = {
            value: name for name, node in self.nodes.items() for value in node.output if value
        }
        """Name of the node that makes a value."""
        self.outputs = tuple(str(value.name) for value in graph.output)
        stored = {tensor.name: tensor for tensor in graph.initializer}
        self.heavy: dict[str, HeavyNode] = {heavy.name: heavy for heavy in _heavy_nodes(self, stored)}

    def sources(self, name: str) -> tuple[str, ...]:
        """Nodes whose results a node takes, in order."""
        return tuple(self.maker[value] for value in self.nodes[name].input if value in self.maker)

    def op_type(self, name: str) -> str:
        """The operator of a node."""
        return str(self.nodes[name].op_type)

    def by_content(self, contents: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """Heavy node by the digest of its weight; *contents* gives the digests of each. What two nodes share is out."""
        pairs = {(digest, name) for name, digests in contents.items() for digest in digests}
        shared = Counter(digest for digest, _ in pairs)
        return {digest: name for digest, name in pairs if shared[digest] == 1}

    def stored_contents(self) -> dict[str, str]:
        """Heavy node by the digest of any form of its weight, as it lies in the file."""
        return self.by_content({name: map(content_of, node.weights) for name, node in self.heavy.items()})


def read_profiled_graph(model: Path) -> ProfiledGraph:
    """Read the ONNX file *model* with its weights."""
    import onnx

    return ProfiledGraph(onnx.load(model))


def as_in_file(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """*shape* of a weight, or *wanted*, as the file has it, if they are one but for rows and columns or axes of one."""
    same = shape[::-1] == wanted if len(shape) == 2 else [n for n in shape if n != 1] == [n for n in wanted if n != 1]
    return wanted if same else shape


def content_of(array: Array) -> str:
    """A digest of shape and values, whatever type holds them: fp16 weights computed in fp32 are the same."""
    wide = array.astype(np.float32 if array.dtype.kind not in "iub" else np.int64)
    return hashlib.blake2b(
        repr(array.shape).encode() + np.ascontiguousarray(wide).tobytes(), digest_size=16
    ).hexdigest()


def _heavy_nodes(graph: ProfiledGraph, stored: Mapping[str, Any]) -> Iterator[HeavyNode]:
    for name, node in graph.nodes.items():
        place = _HEAVY.get(node.op_type)
        if place is None or len(node.input) <= place:
            continue
        weights = _forms(graph, stored, node.input[place], _STEPS_LIMIT)
        if weights:
            last = node.input[-1] if len(node.input) > place + 1 else ""
            bias = _forms(graph, stored, last, _STEPS_LIMIT)
            yield HeavyNode(name=name, op_type=node.op_type, weights=tuple(weights), bias=bias[0] if bias else None)


def _forms(graph: ProfiledGraph, stored: Mapping[str, Any], value: str, steps: int) -> list[Array]:
    """*value* if it is constant, and before it what it is computed from; [] if it depends on the graph's inputs."""
    from onnx import numpy_helper

    if value in stored:
        return [numpy_helper.to_array(stored[value])]
    node = graph.nodes.get(graph.maker.get(value, ""))
    if node is None or steps == 0:
        return []
    inputs = [_forms(graph, stored, source, steps - 1) if source else [] for source in node.input]
    if not all(found for found, source in zip(inputs, node.input, strict=True) if source):
        return []
    given = [found[0] if found else None for found in inputs]
    return [_evaluated(node, given, graph.opsets), *(inputs[0] if inputs else [])]


def _evaluated(node: Any, inputs: list[Array | None], opsets: Mapping[str, int]) -> Array:
    """The first output of *node*, by onnx's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    feeds = {name: array for name, array in zip(node.input, inputs, strict=True) if array is not None}
    outputs: Any = ReferenceEvaluator(node, opsets=dict(opsets)).run(None, feeds)
    return np.asarray(outputs[0])
