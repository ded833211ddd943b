"""Rows of TVM's profile: which ONNX nodes each kernel runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..precision import short_precision
from ..profile import Claim, Row, settle_claims, unique_names
from ..profile_graph import ProfiledGraph, as_in_file
from .kernels import Kernel

__all__ = ["EXECUTED", "Padding", "describe_rows"]

EXECUTED: Mapping[str, str] = {"bf16": "fp32"}
"""Where TVM computes in other types than those of the graph: its lowering of bf16 keeps the tensors in it only."""

Padding = Mapping[str, tuple[int, int]]
"""By value of the ONNX file: its channels, and how many they are padded to (see `channels`)."""


def describe_rows(
    kernels: Sequence[Kernel],
    called: Sequence[str],
    times_ms: Sequence[tuple[float, ...]],
    graph: ProfiledGraph,
    padding: Padding,
) -> tuple[Row, ...]:
    """Rows of the kernels that were *called*, which took *times_ms*; reshapes in place need no call.

    TVM rounds where the ONNX file does, never of its own accord: a row that only quantizes is of a node like any other.

    Raises ValueError where what was called is not what was compiled.
    """
    names = set(called)
    rows: list[Row] = []
    multiplied = {part.node for kernel in kernels for part in kernel.parts if part.heavy}
    claims = _claims(kernels, multiplied, graph)
    unique = unique_names(called)
    sources: list[frozenset[int]] = []
    """By kernel: the rows whose results its own result is, or is made of where it was not called."""
    for kernel, found in zip(kernels, claims, strict=True):
        reads = frozenset[int]().union(*(sources[place] for place in kernel.reads))
        if kernel.name not in names:
            sources.append(reads)
            continue
        place = len(rows)
        if place == len(called) or called[place] != kernel.name:
            raise ValueError(f"call {place} is not of {kernel.name}")
        sources.append(frozenset({place}))
        rows.append(
            Row(
                name=unique[place],
                kind=kernel.kind,
                role="runtime" if kernel.copies or _prepares(kernel, found, multiplied) else "compute",
                times_ms=times_ms[place],
                claims=found,
                reads=tuple(sorted(reads)),
                output_shape=_output_shape(kernel, graph, padding),
                weight_shape=_weight_shape(kernel, found, graph, padding),
                precision=_precision(kernel),
            )
        )
    if len(rows) != len(called):
        raise ValueError(f"{len(called)} kernels were called, {len(rows)} of which were compiled")
    return tuple(rows)


def _claims(kernels: Sequence[Kernel], multiplied: set[int], graph: ProfiledGraph) -> list[tuple[Claim, ...]]:
    """What each kernel computes.

    A convolution or product is where it is multiplied, not where its bias is added or its input padded; any other node
    where something is made of all that it takes.
    """
    nodes = list(graph.nodes)
    return [
        settle_claims(
            (nodes[part.node], "value")
            for part in kernel.parts
            if part.heavy or (part.whole and (part.node not in multiplied or nodes[part.node] not in graph.heavy))
        )
        for kernel in kernels
    ]


def _prepares(kernel: Kernel, claims: Sequence[Claim], multiplied: set[int]) -> bool:
    """Whether all that *kernel* does is for products that others multiply: it pads their inputs."""
    return bool(kernel.parts) and not claims and all(part.node in multiplied for part in kernel.parts)


def _output_shape(kernel: Kernel, graph: ProfiledGraph, padding: Padding) -> tuple[int, ...] | None:
    if kernel.shape is None or kernel.result is None:
        return None
    node = list(graph.nodes.values())[kernel.result]
    return _cut(kernel.shape, 1, padding.get(node.output[0]))


def _weight_shape(
    kernel: Kernel, claims: Sequence[Claim], graph: ProfiledGraph, padding: Padding
) -> tuple[int, ...] | None:
    heavy = [claim.node for claim in claims if claim.node in graph.heavy]
    if kernel.weight_shape is None or not heavy:
        return None
    node = graph.nodes[heavy[0]]
    shape = _cut(kernel.weight_shape, 0, padding.get(node.output[0]))
    return as_in_file(_cut(shape, 1, padding.get(node.input[0])), graph.heavy[heavy[0]].weight_shape)


def _cut(shape: tuple[int, ...], axis: int, channels: tuple[int, int] | None) -> tuple[int, ...]:
    """*shape* without what its channels along *axis* are padded by."""
    if channels is None or len(shape) <= axis or shape[axis] != channels[1]:
        return shape
    return (*shape[:axis], channels[0], *shape[axis + 1 :])


def _precision(kernel: Kernel) -> str:
    name = short_precision(kernel.dtype) if kernel.dtype else ""
    return EXECUTED.get(name, name)
