"""Where OpenVINO computes less than the ONNX file says: strides that it moves towards the input."""

from __future__ import annotations

from collections.abc import Sequence

from .profile_graph import ProfiledGraph

__all__ = ["thinned"]

_ELEMENTWISE = frozenset(
    {
        *("Abs", "Add", "Clip", "DequantizeLinear", "Div", "Elu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu"),
        *("Max", "Min", "Mul", "QuantizeLinear", "Relu", "Selu", "Sigmoid", "Sub", "Sum", "Tanh"),
    }
)


def thinned(graph: ProfiledGraph) -> frozenset[str]:
    """Nodes of which only some places may be computed: a convolution of single places with a stride reads no others.

    That moves through elementwise operators up to the convolution before, if all who read a result agree.
    """
    readers: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for name in graph.nodes:
        for source in graph.sources(name):
            readers[source].append(name)
    wanted = {graph.maker[value] for value in graph.outputs if value in graph.maker}
    found: set[str] = set()
    for name in reversed(graph.nodes):
        skipping = all(_skips(graph, reader) or _passes(graph, reader, found) for reader in readers[name])
        if readers[name] and name not in wanted and skipping and graph.op_type(name) in {*_ELEMENTWISE, "Conv"}:
            found.add(name)
    return frozenset(found)


def _passes(graph: ProfiledGraph, name: str, found: set[str]) -> bool:
    return name in found and graph.op_type(name) in _ELEMENTWISE


def _skips(graph: ProfiledGraph, name: str) -> bool:
    """Whether a node is a convolution of single places with a stride."""
    heavy = graph.heavy.get(name)
    if heavy is None or heavy.op_type != "Conv" or set(heavy.weight_shape[2:]) != {1}:
        return False
    strides: Sequence[int] = next((one.ints for one in graph.nodes[name].attribute if one.name == "strides"), ())
    return any(stride > 1 for stride in strides)
