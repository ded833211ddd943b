"""Parts of a float graph that may be multiplied by any positive factor without changing what the graph computes.

Between two layers with weights, a piecewise linear graph only moves values about, adds them up or cuts them off at
zero: f(a x) = a f(x) for a > 0. So a factor on what writes such a part, taken off again by what reads it, is free
(Nagel et al., 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1), for each
channel where channels are not mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ..sets import Sets
from .layers import Layer, find_layers

__all__ = ["Region", "find_regions", "upper_bound"]

_BY_CHANNEL = frozenset({"Relu", "Add", "MaxPool", "GlobalAveragePool", "ReduceMean", "Identity"})
"""One channel stays one channel."""
_MIXING = frozenset(
    {"Clip", "Concat", "Flatten", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
"""All channels need the same factor: the order or number of channels changes, or one bound holds for all."""
_SQUEEZING = frozenset({"Flatten", "Reshape", "Squeeze"})
"""Behind the means of whole channels these only take away axes."""
_AVERAGING = frozenset({"GlobalAveragePool", "ReduceMean"})
"""Sums whose order, and so whose last bit, is the runtime's own affair."""


@dataclass(kw_only=True)
class Region:
    """Values that take one factor together."""

    values: list[str] = field(default_factory=list)
    writers: list[Layer] = field(default_factory=list)
    """Layers whose outputs are in it."""
    readers: list[Layer] = field(default_factory=list)
    """Layers that take one of its values as their input."""
    clips: list[Any] = field(default_factory=list)
    """Its Clip nodes."""
    uniform: bool = False
    """Whether all channels need the same factor."""
    pinned: bool = False
    """Whether no factor but 1 will do: an input or output of the graph."""
    averaged: set[str] = field(default_factory=set)
    """Values that hold means."""


def find_regions(graph: Any) -> list[Region] | None:
    """All regions of *graph*, in its order, or None where it is not piecewise linear or layers share their weights.

    Nor where a convolution works on means. The graph's constants are initializers (see `lift_constants`).
    """
    layers = {id(layer.node): layer for layer in find_layers(graph)}
    tensors = {tensor.name for tensor in graph.initializer}
    if not _own_weights(graph, layers.values()):
        return None
    places = {name: place for place, name in enumerate(_values(graph))}
    joined = Sets(len(places))
    averaged: set[str] = set()
    for node in graph.node:
        live = [name for name in node.input if name and name not in tensors]
        layer = layers.get(id(node))
        if layer is not None:
            if node.op_type not in ("Conv", "Gemm") or (node.op_type == "Conv" and live[0] in averaged):
                return None
            continue
        if not live or node.op_type not in _BY_CHANNEL | _MIXING or (node.op_type == "Add" and len(live) != 2):
            return None
        if node.op_type == "Clip" and upper_bound(node, graph) is None:
            return None
        for name in chain(live[1:], node.output):
            joined.join(places[live[0]], places[name])
        if node.op_type in _AVERAGING or set(live) & averaged:
            averaged.update(node.output)
    roots = {name: joined.find(place) for name, place in places.items()}
    return list(_gather(graph, layers, roots, averaged))


def _values(graph: Any) -> dict[str, None]:
    """Names of all inputs of *graph* and of what its nodes read or write, each once."""
    inputs = [value.name for value in graph.input]
    return dict.fromkeys([*inputs, *(name for node in graph.node for name in chain(node.input, node.output))])


def upper_bound(clip: Any, graph: Any) -> float | None:
    """The constant upper bound of the node *clip*; None where it has none, or does not cut off at zero."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    bounds = [tensors[name] for name in clip.input[1:3] if name in tensors]
    if len(bounds) < 2:
        return None
    low, high = (float(numpy_helper.to_array(tensor)) for tensor in bounds)
    return high if low == 0.0 < high else None


def _own_weights(graph: Any, layers: Iterable[Layer]) -> bool:
    uses = Counter(name for node in graph.node for name in node.input)
    return all(uses[name] == 1 for layer in layers for name in layer.node.input[1:3] if name)


def _gather(graph: Any, layers: dict[int, Layer], roots: Mapping[str, int], averaged: set[str]) -> Iterator[Region]:
    regions: dict[int, Region] = {}

    def region_of(name: str) -> Region:
        region = regions.setdefault(roots[name], Region())
        if name not in region.values:
            region.values.append(name)
        return region

    for value in graph.input:
        region_of(value.name).pinned = True
    for node in graph.node:
        layer = layers.get(id(node))
        if layer is not None:
            region_of(node.input[0]).readers.append(layer)
            region_of(node.output[0]).writers.append(layer)
            continue
        for name in node.output:
            region = region_of(name)
            region.uniform |= node.op_type in _MIXING and not (node.op_type in _SQUEEZING and node.input[0] in averaged)
            region.averaged |= {name} & averaged
        if node.op_type == "Clip":
            region.clips.append(node)
    for value in graph.output:
        region_of(value.name).pinned = True
    yield from regions.values()
