"""What the layers of a compiled OpenVINO model run of the ONNX file: the runtime graph names the layers they are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .openvino_layers import HEAVY_LAYERS, executed_type
from .openvino_strides import thinned
from .profile import Claim, Evidence, Row, settle_claims
from .profile_graph import ProfiledGraph

__all__ = ["Layer", "describe_rows", "read_layers"]

_COPIES = frozenset({"Convert", "Reorder"})
_ARRANGING = frozenset({"Transpose"})
"""Copies as well, where they are of no layer of the ONNX file."""

_QUANTIZING = frozenset({"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"})

_WEIGHTS = 1
"""Place of the weights among the inputs of a heavy layer."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A node of the runtime graph."""

    name: str
    facts: Mapping[str, str]
    """"layerType", "originalLayersNames", "runtimePrecision", "primitiveType", ..."""
    sources: tuple[str, ...]
    """Names of the layers that it takes its inputs from, in order."""
    source_shapes: tuple[tuple[int, ...] | None, ...]
    shape: tuple[int, ...] | None

    @property
    def kind(self) -> str:
        """Type of the layer."""
        return self.facts["layerType"]

    @property
    def heavy(self) -> bool:
        """Whether it is a convolution or a product."""
        return self.kind in HEAVY_LAYERS


def read_layers(compiled: Any) -> list[Layer]:
    """All nodes of the runtime graph of a compiled model, constants among them, in order of execution."""
    layers = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        inputs = node.input_values()
        layers.append(
            Layer(
                name=node.get_friendly_name(),
                facts={key: str(value.astype(str)) for key, value in node.get_rt_info().items()},
                sources=tuple(source.get_node().get_friendly_name() for source in inputs),
                source_shapes=tuple(_shape(source) for source in inputs),
                shape=_shape(node.output(0)) if node.get_output_size() else None,
            )
        )
    return sorted(layers, key=lambda layer: int(layer.facts["execOrder"]))


def describe_rows(
    layers: Sequence[Layer],
    times_ms: Mapping[str, tuple[float, ...]],
    graph: ProfiledGraph,
    own_names: Mapping[str, str],
) -> tuple[Row, ...]:
    """Rows of those of *layers* that took *times_ms*, by name; *own_names* as nodes went in (see `openvino_names`)."""
    named = {own_names.get(name, name): name for name in graph.nodes}
    taken = [layer for layer in layers if layer.name in times_ms]
    claims = _settled({layer.name: _claims(layer, graph, named) for layer in taken}, layers, graph)
    thin = thinned(graph)
    rows: list[Row] = []
    sources: dict[str, frozenset[int]] = {}
    """By layer: the rows whose results its own result is, or is made of where it did not run itself."""
    for layer in layers:
        reads = frozenset[int]().union(*(sources.get(name, frozenset()) for name in layer.sources))
        if layer.name not in times_ms:
            sources[layer.name] = reads
            continue
        sources[layer.name] = frozenset({len(rows)})
        found = claims[layer.name]
        rows.append(
            Row(
                name=layer.name,
                kind=layer.kind,
                role="runtime" if _is_runtime(layer, found, graph) else "compute",
                times_ms=times_ms[layer.name],
                claims=found,
                reads=tuple(sorted(reads)),
                output_shape=None if any(claim.node in thin for claim in found) else layer.shape,
                weight_shape=_weight_shape(layer, found, graph),
                precision=executed_type(layer.facts),
            )
        )
    return tuple(rows)


def _claims(layer: Layer, graph: ProfiledGraph, named: Mapping[str, str]) -> tuple[Claim, ...]:
    """The nodes that the layer is said to be of, each once; it may be called after a node or after its result."""
    originals = layer.facts["originalLayersNames"].split(",")
    return settle_claims(pair for original in originals for pair in _node_of(original, graph, named))


def _node_of(original: str, graph: ProfiledGraph, named: Mapping[str, str]) -> Iterator[tuple[str, Evidence]]:
    """The node of that name, or of the name less what OpenVINO has put behind it: "conv/WithoutBiases"."""
    name, whole = original, True
    while name:
        if name in named:
            yield named[name], "name" if whole else "rule"
            return
        if name in graph.maker:
            yield graph.maker[name], "value" if whole else "rule"
            return
        name, whole = name.rpartition("/")[0], False


def _settled(
    claims: Mapping[str, tuple[Claim, ...]], layers: Sequence[Layer], graph: ProfiledGraph
) -> dict[str, tuple[Claim, ...]]:
    """*claims* without those of light layers on nodes that a heavy layer claims: they add its bias, or scale it."""
    heavy = {layer.name for layer in layers if layer.heavy}
    owned = {claim.node for name in heavy for claim in claims.get(name, ()) if claim.node in graph.heavy}
    return {
        name: found if name in heavy else tuple(claim for claim in found if claim.node not in owned)
        for name, found in claims.items()
    }


def _is_runtime(layer: Layer, claims: Sequence[Claim], graph: ProfiledGraph) -> bool:
    if layer.kind in _COPIES or (layer.kind in _ARRANGING and not claims):
        return True
    return bool(claims) and all(graph.op_type(claim.node) in _QUANTIZING for claim in claims)


def _weight_shape(layer: Layer, claims: Sequence[Claim], graph: ProfiledGraph) -> tuple[int, ...] | None:
    """Of the layer's weights: groups are an axis of their own there, and the rows of a matrix may be its columns."""
    shape = layer.source_shapes[_WEIGHTS] if layer.heavy and len(layer.source_shapes) > _WEIGHTS else None
    claimed = [graph.heavy[claim.node].weight_shape for claim in claims if claim.node in graph.heavy]
    if shape is None or not claimed:
        return None
    wanted = claimed[0]
    if len(shape) == len(wanted) + 1:
        shape = (shape[0] * shape[1], *shape[2:])
    return wanted if len(shape) == 2 and shape[::-1] == wanted else shape


def _shape(port: Any) -> tuple[int, ...] | None:
    shape = port.get_partial_shape()
    return tuple(shape.to_shape()) if shape.is_static else None
