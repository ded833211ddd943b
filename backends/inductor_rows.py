"""Rows of Inductor's profile: which ONNX nodes each call runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .inductor_calls import Call
from .inductor_nodes import Nodes, Weight
from .precision import short_precision
from .profile import Claim, Evidence, Row, settle_claims, unique_names
from .profile_graph import ProfiledGraph, as_in_file
from .torch_import.kernels import enlarged

__all__ = ["describe_rows"]

_INTEGER = re.compile(r"_q(conv|linear)")

_INTEGER_POOL = "quantized::max_pool2d"
"""Takes the maximum of rounded values, in place of the rounding behind it too; it bears the name of that one only."""


def describe_rows(
    calls: Sequence[Call], times_ms: Sequence[tuple[float, ...]], nodes: Nodes, graph: ProfiledGraph
) -> tuple[Row, ...]:
    """Rows of *calls*, which took *times_ms*.

    Inductor rounds where the ONNX file does: a row that only quantizes is of a node like any other.
    """
    ran = _nodes_run(calls, nodes)
    multiplied = {weight.onnx_node for call in calls for weight in _weights(call, nodes)}
    names = unique_names([call.event for call in calls])
    rows = []
    for place, call in enumerate(calls):
        weights = _weights(call, nodes)
        found = [*_claims(weights, ran[place], multiplied, nodes), *_pools(call, ran[place], nodes, graph)]
        claims = settle_claims(found)
        rows.append(
            Row(
                name=names[place],
                kind=_kind(call.event),
                role="runtime" if call.nodes and not claims and _prepares(ran[place], multiplied, nodes) else "compute",
                times_ms=times_ms[place],
                claims=claims,
                reads=call.reads,
                output_shape=_output_shape(ran[place], claims, nodes),
                weight_shape=_weight_shape(weights, graph),
                precision=_precision(call, weights),
            )
        )
    return tuple(rows)


def _weights(call: Call, nodes: Nodes) -> list[Weight]:
    return [nodes.weights[name] for name in call.words if name in nodes.weights]


def _nodes_run(calls: Sequence[Call], nodes: Nodes) -> list[list[str]]:
    """For each call what it runs of the graph.

    A kernel of torch's is named for what it is fused with, or for whoever adds to its result; its weight tells which it
    is. What Inductor puts in front of it to change a layout is named for it, too, and runs nothing.
    """
    found: list[list[str]] = []
    for call in calls:
        takers = [nodes.takers[weight] for weight in call.words if weight in nodes.takers]
        found.append(takers or list(call.nodes))
    elsewhere = {name for call, ran in zip(calls, found, strict=True) if not call.own for name in ran}
    return [
        [name for name in ran if name not in elsewhere] if call.own else ran
        for call, ran in zip(calls, found, strict=True)
    ]


def _claims(
    weights: Sequence[Weight], ran: Sequence[str], multiplied: set[str], nodes: Nodes
) -> Iterator[tuple[str, Evidence]]:
    """What multiplies with a weight runs the node of that weight, whoever else is named for it."""
    for weight in weights:
        yield weight.onnx_node, "name"
    for name in ran:
        node = nodes.onnx_nodes.get(name)
        if node and node not in multiplied:
            yield node, "name"


def _pools(call: Call, ran: Sequence[str], nodes: Nodes, graph: ProfiledGraph) -> Iterator[tuple[str, Evidence]]:
    """The MaxPool that a kernel for rounded values runs: that whose result is rounded by the node that the call names.

    torch has that kernel for a MaxPool between a DequantizeLinear and a QuantizeLinear only.
    """
    if call.event != _INTEGER_POOL:
        return
    for rounding in filter(None, map(nodes.onnx_nodes.get, ran)):
        source = graph.maker.get(graph.nodes[rounding].input[0], "") if rounding in graph.nodes else ""
        if source and graph.op_type(rounding) == "QuantizeLinear" and graph.op_type(source) == "MaxPool":
            yield source, "rule"


def _prepares(ran: Sequence[str], multiplied: set[str], nodes: Nodes) -> bool:
    """Whether all that is run is for products that others multiply: their inputs are padded, or change their layout.

    The importer may pad in a node of its own.
    """
    return all(nodes.onnx_nodes.get(name) in multiplied | {""} for name in ran)


def _output_shape(ran: Sequence[str], claims: Sequence[Claim], nodes: Nodes) -> tuple[int, ...] | None:
    """Of the last node that a call runs; None if that is a padding in front of a convolution of another row."""
    order = {name: place for place, name in enumerate(nodes.shapes)}
    known = [name for name in ran if name in order]
    last = max(known, key=order.__getitem__, default="")
    claimed = {claim.node for claim in claims}
    return nodes.shapes[last] if last and nodes.onnx_nodes.get(last) in claimed | {None} else None


def _weight_shape(weights: Sequence[Weight], graph: ProfiledGraph) -> tuple[int, ...] | None:
    """Of the weight, as the file has it: groups may be an axis of their own here, and kernels are enlarged by zeros."""
    if len(weights) != 1 or weights[0].onnx_node not in graph.heavy:
        return None
    name, shape = weights[0].onnx_node, weights[0].shape
    wanted = graph.heavy[name].weight_shape
    if len(shape) == len(wanted) + 1:
        shape = (shape[0] * shape[1], *shape[2:])
    if graph.op_type(name) == "Conv" and shape == (*wanted[:2], *enlarged(graph.nodes[name], wanted[2:])):
        return wanted
    return as_in_file(shape, wanted)


def _precision(call: Call, weights: Sequence[Weight]) -> str:
    if not weights:
        return ""
    return "int8" if _INTEGER.search(call.event) else short_precision(weights[0].dtype)


def _kind(event: str) -> str:
    """ "mkldnn__convolution_pointwise" or "cpp_fused_mean"."""
    return re.sub("^aoti_torch_(cpu|cuda)_|^graph_[0-9]+_|_[0-9]+$", "", event)
