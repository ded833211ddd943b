"""What the nodes of ONNX Runtime's optimized graph run of the ONNX file, by names, values and weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .base import Array
from .onnxruntime_shapes import Shapes
from .profile import Claim, Evidence, Row, settle_claims, unique_names
from .profile_graph import ProfiledGraph, content_of

__all__ = ["Kernel", "describe_rows"]

_RUNTIME = frozenset(
    {
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MemcpyFromHost",
        "MemcpyToHost",
        "QuantizeLinear",
        "ReorderInput",
        "ReorderOutput",
    }
)
_RUNTIME_UNLESS_NAMED = frozenset({"Cast", "Transpose"})
"""The runtime's own where no node of the ONNX file bears their name."""

_DECORATION = re.compile(r"^InsertedPrecisionFreeCast_|_nchwc$|_token_\d+$|/[A-Za-z]*Fusion/?$")
"""What the optimizers add to the name of a node or a value."""

_BLOCKS = (8, 16)
"""Channels that ONNX Runtime's own layout stores together, by the width of the CPU's vectors."""

_TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64", "int8": "int8", "uint8": "int8"}

_UNARY_LIMIT = 4
"""Activations between a convolution and the value that a fused kernel is named after."""


class Kernel:
    """One event of the profiler: which node of the optimized graph ran, on what."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        facts = event["args"]
        self.place = int(facts["node_index"])
        """Of the node in the optimized graph."""
        self.op_type: str = facts["op_name"]
        self.input_types: list[str] = [kind for item in facts["input_type_shape"] for kind in item]
        self.output_shapes: list[tuple[int, ...]] = [
            tuple(shape) for item in facts["output_type_shape"] for shape in item.values()
        ]

    @property
    def precision(self) -> str:
        """Of its first input."""
        return _TYPES.get(self.input_types[0], "") if self.input_types else ""


def describe_rows(
    executed: Any, kernels: Sequence[Kernel], times_ms: Sequence[tuple[float, ...]], graph: ProfiledGraph
) -> tuple[Row, ...]:
    """Rows of *kernels*, which ran in this order nodes of *executed*, an `onnx.GraphProto`, and took *times_ms*."""
    reader = _Reader(executed, graph)
    nodes = [executed.node[kernel.place] for kernel in kernels]
    names = unique_names([node.name or f"{node.op_type} {node.output[0]}" for node in nodes])
    shapes = Shapes(graph)
    rows: list[Row] = []
    made: dict[str, int] = {}
    for place, (kernel, node) in enumerate(zip(kernels, nodes, strict=True)):
        claims = reader.claims(node)
        weight_shape = reader.weight_shape(node, claims)
        rows.append(
            Row(
                name=names[place],
                kind=node.op_type,
                role="runtime" if reader.is_runtime(node) else "compute",
                times_ms=times_ms[place],
                claims=claims,
                reads=tuple(sorted({made[value] for value in node.input if value in made})),
                output_shape=shapes.output_of(node, kernel.output_shapes, weight_shape),
                weight_shape=weight_shape,
                precision=kernel.precision,
            )
        )
        made.update({value: place for value in node.output if value})
    return tuple(rows)


class _Reader:
    """Reads the claims of one optimized graph's nodes."""

    def __init__(self, executed: Any, graph: ProfiledGraph) -> None:
        from onnx import numpy_helper

        self.graph = graph
        self.stored = {tensor.name: tensor for tensor in executed.initializer}
        self.contents = {
            name: content_of(numpy_helper.to_array(tensor)) for name, tensor in self.stored.items() if tensor.dims
        }
        forms = {name: [*map(content_of, _forms(node.weights))] for name, node in graph.heavy.items()}
        self.by_content = graph.by_content(forms)

    def is_runtime(self, node: Any) -> bool:
        """Whether *node* only copies, quantizes or dequantizes on the runtime's own account."""
        return node.op_type in _RUNTIME or (
            node.op_type in _RUNTIME_UNLESS_NAMED and self.graph.nodes.get(node.name) is None
        )

    def claims(self, node: Any) -> tuple[Claim, ...]:
        """Who *node* says that it runs: each node once, by the strongest evidence."""
        return settle_claims(self._evidence(node))

    def _evidence(self, node: Any) -> Iterator[tuple[str, Evidence]]:
        graph = self.graph
        if node.name in graph.nodes:
            yield node.name, "name"
        for value in node.output:
            if value in graph.maker:
                yield graph.maker[value], "value"
        heavy = self._by_weights(node)
        if heavy:
            yield heavy, "weights"
        for name in self._by_rule(node):
            yield name, "rule"
            behind = "" if heavy or not self._multiplies(node) else self._behind(name)
            if behind:
                yield behind, "rule"

    def _multiplies(self, node: Any) -> bool:
        """Whether *node* has a constant with more than one axis, as convolutions and products do."""
        return any(value in self.stored and len(self.stored[value].dims) > 1 for value in node.input)

    def _by_weights(self, node: Any) -> str:
        found = (self.by_content.get(self.contents.get(value, "")) for value in node.input)
        return next((name for name in found if name), "")

    def _by_rule(self, node: Any) -> Iterator[str]:
        """Nodes that *node* or its outputs are named after, once all that optimizers add is taken away."""
        for label in (node.name, *node.output):
            plain = _plain(label)
            if plain and plain != label:
                if plain in self.graph.nodes:
                    yield plain
                elif plain in self.graph.maker:
                    yield self.graph.maker[plain]

    def _behind(self, name: str) -> str:
        """The heavy node whose result reaches *name* through activations alone; "" for none, or for *name* itself."""
        at = name
        for _ in range(_UNARY_LIMIT):
            if at in self.graph.heavy:
                return at if at != name else ""
            sources = {self.graph.maker[value] for value in self.graph.nodes[at].input if value in self.graph.maker}
            live = [source for source in sources if self.graph.op_type(source) != "Constant"]
            if len(live) != 1:
                return ""
            (at,) = live
        return ""

    def weight_shape(self, node: Any, claims: Iterable[Claim]) -> tuple[int, ...] | None:
        """Shape of the weight as in the ONNX file, less the channels that the runtime's layout pads."""
        by_weights = self._by_weights(node)
        if by_weights:
            return self.graph.heavy[by_weights].weight_shape
        shapes = [tuple(self.stored[value].dims) for value in node.input if value in self.stored]
        large = [shape for shape in shapes if len(shape) > 1]
        claimed = [self.graph.heavy[claim.node].weight_shape for claim in claims if claim.node in self.graph.heavy]
        if not large or not claimed:
            return None
        return claimed[0] if _padded(large[0], claimed[0]) or large[0] == claimed[0][::-1] else large[0]


def _plain(label: str) -> str:
    while (shorter := _DECORATION.sub("", label)) != label:
        label = shorter
    return label


def _padded(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether *shape* is *wanted* with its channels padded to a block."""
    return len(shape) == len(wanted) and any(
        all(-(-size // block) * block == padded or size == padded for size, padded in zip(wanted, shape, strict=True))
        for block in _BLOCKS
    )


def _forms(weights: Iterable[Array]) -> Iterator[Array]:
    """How ONNX Runtime may store a weight: as it is, transposed, in blocks of channels."""
    for weight in weights:
        yield weight
        if weight.ndim == 2:
            yield weight.T
        if weight.ndim == 4 and weight.dtype.kind == "f":
            for block in _BLOCKS:
                yield from _blocked(weight, block)


def _blocked(weight: Array, block: int) -> Iterator[Array]:
    """Blocks of output channels innermost; and with blocks of input channels outside of them."""
    o, i, h, w = weight.shape
    outer, inner = -(-o // block), -(-i // block)
    padded = np.zeros((outer * block, inner * block, h, w), weight.dtype)
    padded[:o, :i] = weight
    by_output = padded[:, :i].reshape(outer, block, i, h, w).transpose(0, 2, 3, 4, 1)
    yield by_output.reshape(outer * block, i, h, w)
    by_both = padded.reshape(outer, block, inner, block, h, w).transpose(0, 2, 4, 5, 3, 1)
    yield by_both.reshape(outer * block, inner * block, h, w)
