"""How much work an ONNX graph is: multiply-accumulates, other operations and bytes of memory traffic, node by node.

All is counted over static shapes, for one inference, from the graph alone; nothing is run. Bytes are those that cannot
be avoided while the node runs on its own or fused with others: see `work_flow` for the form in which values are
counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .dtypes import short_precision
from .work_flow import SEEN_THROUGH, Flow, Traffic, read_flow
from .work_macs import OPERANDS, attributes, multiplies_unseen, node_macs, winograd_macs
from .work_ops import AVOIDABLE, elementwise_ops

__all__ = ["GroupWork", "ModelWork", "NodeWork", "count_work"]

_CODES = ("int8", "int4")
_INT8_LEVEL = 4
"""The `accuracy_level` at which MatMulNBits may quantize its activations to int8."""


@dataclass(frozen=True, kw_only=True)
class NodeWork:
    """The work of one node. What a compiler computes once, from constants, is none at all."""

    node: str
    op_type: str
    macs: int
    """Multiply-accumulates of the textbook's algorithm."""
    winograd_macs: int
    """Multiplications that are left of them with Winograd's algorithm, were they computed in floating point; `macs`
    where it does not apply."""
    other_ops: int
    """Operations on single elements: activations, pooling, normalization, quantizing."""
    input_bytes: int
    """Activations that it reads."""
    weight_bytes: int
    """Constants that it reads, in the form in which they are stored: codes and scales behind DequantizeLinear."""
    output_bytes: int
    precision: str
    """What its multiply-accumulates can be computed in, "int8" between DequantizeLinear and QuantizeLinear; of other
    nodes the type of the output."""
    avoidable: bool
    """Whether a compiler can do without it: a view, a move or a conversion that its neighbours take over."""


@dataclass(frozen=True, kw_only=True)
class GroupWork:
    """The work of nodes that run as one: what they hand on to each other need not go through memory."""

    nodes: tuple[NodeWork, ...]
    input_bytes: int
    weight_bytes: int
    output_bytes: int
    activations: tuple[tuple[int, int], ...] = ()
    """Of each activation that enters or leaves: its bytes, and those of one element. Empty where that is not known."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all nodes."""
        return sum(work.macs for work in self.nodes)

    @property
    def other_ops(self) -> int:
        """Operations on single elements of all nodes."""
        return sum(work.other_ops for work in self.nodes)

    @property
    def avoidable(self) -> bool:
        """Whether a compiler can do without all of it."""
        return all(work.avoidable for work in self.nodes)


@dataclass(frozen=True, kw_only=True)
class ModelWork:
    """The work of a graph, for one inference."""

    nodes: tuple[NodeWork, ...]
    """One for each ONNX node, in the graph's order."""
    uncounted: tuple[str, ...]
    """Nodes that may multiply matrices in a way that is not counted: "name (Loop)"."""
    traffic: Mapping[str, Traffic]
    """By the node's name."""
    readers: Mapping[str, frozenset[str]]
    """Stored value -> names of the nodes that read it."""
    outputs: frozenset[str]
    """Stored values that leave the graph."""
    widths: Mapping[str, int] = field(default_factory=dict)
    """Stored value -> bytes of one element, at least one."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole graph."""
        return sum(work.macs for work in self.nodes)

    def node(self, name: str) -> NodeWork:
        """The work of the node *name*. Raises KeyError."""
        return self.group([name]).nodes[0]

    def group(self, names: Collection[str]) -> GroupWork:
        """The work of the nodes *names* as one fused kernel. Raises KeyError for a name that the graph has not.

        Bytes are what crosses the group's border: values that one of them makes and only they read stay inside.
        """
        chosen = set(names)
        unknown = chosen.difference(self.traffic)
        if unknown:
            raise KeyError(f"no such node: {min(unknown)!r}")
        works = tuple(work for work in self.nodes if work.node in chosen)
        if len(works) == 1:
            alone, part = works[0], self.traffic[works[0].node]
            return GroupWork(
                nodes=works,
                input_bytes=alone.input_bytes,
                weight_bytes=alone.weight_bytes,
                output_bytes=alone.output_bytes,
                activations=self._activations([*part.reads.items(), *part.writes.items()]),
            )
        return self._fused(works, chosen)

    def whole(self) -> GroupWork:
        """All of the graph as one: its inputs, weights and outputs are moved once, and nothing else."""
        return self.group(self.traffic)

    def _fused(self, works: tuple[NodeWork, ...], chosen: set[str]) -> GroupWork:
        """With the bytes that enter as activations and as constants, and those that leave."""
        parts = [self.traffic[work.node] for work in works]
        made = _largest(part.writes for part in parts)
        entering = [one for one in _largest(part.reads for part in parts).items() if one[0] not in made]
        leaving = [one for one in made.items() if self._leaves(one[0], chosen)]
        return GroupWork(
            nodes=works,
            input_bytes=sum(size for _, size in entering),
            weight_bytes=sum(_largest(part.weights for part in parts).values()),
            output_bytes=sum(size for _, size in leaving),
            activations=self._activations([*entering, *leaving]),
        )

    def _activations(self, sizes: Sequence[tuple[str, int]]) -> tuple[tuple[int, int], ...]:
        known = all(value in self.widths for value, _ in sizes)
        return tuple((size, self.widths[value]) for value, size in sizes) if known else ()

    def _leaves(self, value: str, inside: set[str]) -> bool:
        return value in self.outputs or not self.readers.get(value, frozenset()) <= inside


def count_work(model: Any, *, batches: bool = False) -> ModelWork:
    """Count the work of *model*, an `onnx.ModelProto` with static shapes, which stays as it is.

    Names of nodes are the graph's own; nodes without one get the name that `graph.name_nodes` gives them. Raises
    `UserError` for a dynamic shape, a shape that cannot be inferred, or, unless *batches* are asked for, a batch of
    more than one.
    """
    flow = read_flow(model, batches=batches)
    traffic = {node.name: _fused_traffic(flow, node) for node in flow.graph.node}
    readers: dict[str, frozenset[str]] = {}
    for name, part in traffic.items():
        for value in part.reads:
            readers[value] = readers.get(value, frozenset()) | {name}
    return ModelWork(
        nodes=tuple(_node_work(flow, node, traffic[node.name]) for node in flow.graph.node),
        uncounted=tuple(f"{node.name} ({node.op_type})" for node in flow.graph.node if multiplies_unseen(node)),
        traffic=traffic,
        readers=readers,
        outputs=frozenset(flow.stored(output.name) for output in flow.graph.output),
        widths={value: flow.width(value) for part in traffic.values() for value in (*part.reads, *part.writes)},
    )


def _fused_traffic(flow: Flow, node: Any) -> Traffic:
    """Nothing for what is seen through: its neighbours' traffic has it."""
    if _computed_once(flow, node) or node.op_type in SEEN_THROUGH:
        return Traffic(reads={}, weights={}, writes={})
    return flow.traffic(node)


def _node_work(flow: Flow, node: Any, fused: Traffic) -> NodeWork:
    once = _computed_once(flow, node)
    alone = flow.own_traffic(node) if node.op_type in SEEN_THROUGH and not once else fused
    macs = 0 if once else node_macs(node, flow.shape)
    return NodeWork(
        node=node.name,
        op_type=node.op_type,
        macs=macs,
        winograd_macs=winograd_macs(node, flow.shape) if macs else macs,
        other_ops=0 if once else elementwise_ops(node, flow.shape),
        input_bytes=sum(alone.reads.values()),
        weight_bytes=sum(alone.weights.values()),
        output_bytes=sum(alone.writes.values()),
        precision=_precision(flow, node),
        avoidable=once or node.op_type in AVOIDABLE,
    )


def _computed_once(flow: Flow, node: Any) -> bool:
    return all(name in flow.constants for name in node.output if name)


def _precision(flow: Flow, node: Any) -> str:
    """What both operands are stored in where that is 8 bits or less, else the type that the graph computes in."""
    place = OPERANDS.get(node.op_type)
    if place is None:
        return _short(flow, node.output[0])
    if node.op_type == "DynamicQuantizeMatMul":
        return "int8"
    if node.op_type == "MatMulNBits":
        level = attributes(node).get("accuracy_level", 0)
        return "int8" if level == _INT8_LEVEL else _short(flow, node.input[0])
    operands = [_short(flow, flow.coded(node.input[index])) for index in (0, place)]
    if all(operand in _CODES for operand in operands):
        return "int8"
    return _short(flow, node.input[0])


def _short(flow: Flow, name: str) -> str:
    from onnx import TensorProto
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = flow.types.get(name, TensorProto.UNDEFINED)
    return short_precision(tensor_dtype_to_np_dtype(kind).name) if kind != TensorProto.UNDEFINED else ""


def _largest(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """All values of *parts*, each with the largest size that one of them has for it."""
    found: dict[str, int] = {}
    for part in parts:
        for value, size in part.items():
            found[value] = max(found.get(value, 0), size)
    return found
