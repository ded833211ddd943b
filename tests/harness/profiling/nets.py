"""Synthetic nets, and a runtime that fuses, reorders and profiles them as real ones do. Loaded by path: see `runpy`."""

from __future__ import annotations

import random

from bakeoff.backends.profile import Claim, Profile, Row
from bakeoff.harness.profiling.graph import Graph
from bakeoff.models.nodes import Node

FUSED = ("Relu", "Clip", "Add", "QuantizeLinear", "DequantizeLinear")
"""What the runtime below computes in the row of whoever made its input."""


class Builder:
    """Writes a net down node by node; a node is known by its place, the graph's input by -1."""

    def __init__(self, *, quantized: bool = False) -> None:
        self.nodes: list[Node] = []
        self.quantized = quantized

    def op(self, op: str, *sources: int, shape: tuple[int, ...], weight: tuple[int, ...] | None = None) -> int:
        reads = tuple(dict.fromkeys(source for source in sources if source >= 0))
        self.nodes.append(
            Node(
                name=f"{op.lower()}_{len(self.nodes)}",
                op=op,
                reads=reads,
                output_shape=shape,
                weight_shape=weight,
                heavy=weight is not None,
                output=False,
            )
        )
        return len(self.nodes) - 1

    def conv(self, source: int, inner: int, outer: int, side: int, *, kernel: int = 3, relu: bool = True) -> int:
        shape = (1, outer, side, side)
        place = self.op("Conv", source, shape=shape, weight=(outer, inner, kernel, kernel))
        if relu and not self.quantized:  # quantizing removes it
            place = self.op("Relu", place, shape=shape)
        return self.rounded(place, shape)

    def add(self, first: int, second: int, channels: int, side: int) -> int:
        shape = (1, channels, side, side)
        return self.rounded(self.op("Relu", self.op("Add", first, second, shape=shape), shape=shape), shape)

    def rounded(self, place: int, shape: tuple[int, ...]) -> int:
        if not self.quantized:
            return place
        return self.op("DequantizeLinear", self.op("QuantizeLinear", place, shape=shape), shape=shape)

    def head(self, source: int, channels: int) -> Graph:
        pooled = self.op("GlobalAveragePool", source, shape=(1, channels, 1, 1))
        flat = self.op("Flatten", pooled, shape=(1, channels))
        last = self.op("Gemm", flat, shape=(1, 10), weight=(10, channels))
        self.nodes[last] = Node(**{**vars(self.nodes[last]), "output": True})
        return Graph(self.nodes)


def chain(length: int = 8) -> Graph:
    """Convolutions that are all alike, one after the other."""
    net, at = Builder(), -1
    for _ in range(length):
        at = net.conv(at, 16, 16, 8)
    return net.head(at, 16)


def resnet(blocks: int = 4, *, quantized: bool = False) -> Graph:
    """Bottleneck blocks of equal shapes, the first with a convolution on its shortcut that is shaped as its last."""
    net = Builder(quantized=quantized)
    stem = net.conv(-1, 3, 8, 16, kernel=7)
    at = net.op("MaxPool", stem, shape=(1, 8, 8, 8))
    for block in range(blocks):
        inner = 8 if block == 0 else 32
        first = net.conv(net.conv(at, inner, 8, 8, kernel=1), 8, 8, 8)
        last = net.conv(first, 8, 32, 8, kernel=1, relu=False)
        shortcut = net.conv(at, 8, 32, 8, kernel=1, relu=False) if block == 0 else at
        at = net.add(last, shortcut, 32, 8)
    return net.head(at, 32)


def mobilenet(blocks: int = 4) -> Graph:
    """Inverted residuals; equal shapes throughout."""
    net = Builder()
    at = net.conv(-1, 3, 8, 16)
    for _ in range(blocks):
        wide = net.conv(at, 8, 48, 16, kernel=1)
        deep = net.conv(wide, 1, 48, 16)
        thin = net.conv(deep, 48, 8, 16, kernel=1, relu=False)
        at = net.op("Add", thin, at, shape=(1, 8, 16, 16))
    return net.head(at, 8)


def inception(blocks: int = 3) -> Graph:
    """Branches of one, two and three convolutions with equal shapes, joined by a Concat."""
    net, at = Builder(), -1
    for block in range(blocks):
        inner = 3 if block == 0 else 24
        branches = []
        for length in (1, 2, 3):
            end = net.conv(at, inner, 8, 16, kernel=1)
            for _ in range(length - 1):
                end = net.conv(end, 8, 8, 16)
            branches.append(end)
        at = net.op("Concat", *branches, shape=(1, 24, 16, 16))
    return net.head(at, 24)


def densenet(layers: int = 5) -> Graph:
    """Every convolution reads all before it."""
    net = Builder()
    ends = [net.conv(-1, 3, 8, 16)]
    for count in range(1, layers):
        joined = net.op("Concat", *ends, shape=(1, 8 * count, 16, 16)) if count > 1 else ends[0]
        ends.append(net.conv(joined, 8 * count, 8, 16))
    return net.head(ends[-1], 8)


NETS = {
    "chain": chain(),
    "resnet": resnet(),
    "resnet int8": resnet(quantized=True),
    "mobilenet": mobilenet(),
    "inception": inception(),
    "densenet": densenet(),
}


def execute(
    graph: Graph,
    choose: random.Random,
    *,
    tell_reads: bool = True,
    tell_shapes: bool = True,
    named: float = 0.5,
    copies: float = 0.2,
) -> tuple[Profile, dict[int, str]]:
    """A profile of *graph*, and for each of its nodes the name of the row that really runs it.

    Kernels run in a random order that the graph allows. A row claims its heavy nodes always, and any other node with
    the probability *named*; a row of the runtime's own stands before a kernel with the probability *copies*.
    """
    kernels, kernel_of = _fuse(graph, _any_order(graph, choose))
    rows: list[Row] = []
    places: dict[int, int] = {}
    for number, nodes in enumerate(kernels):
        sources = {kernel_of[at] for node in nodes for at in graph.nodes[node].reads} - {number}
        reads = sorted(places[source] for source in sources)
        if reads and choose.random() < copies:
            rows.append(_row(f"copy_{len(rows)}", "Reorder", reads=reads[-1:], told=tell_reads, runtime=True))
            reads[-1] = len(rows) - 1
        claims = [node for node in nodes if graph.nodes[node].heavy or choose.random() < named]
        heavy = [node for node in nodes if graph.nodes[node].heavy]
        last = graph.nodes[nodes[-1]]
        places[number] = len(rows)
        rows.append(
            Row(
                name=f"kernel_{len(rows)}",
                kind=graph.nodes[nodes[0]].op,
                role="compute",
                times_ms=tuple(choose.uniform(0.5, 1.5) for _ in range(3)),
                claims=tuple(
                    Claim(node=graph.nodes[node].name, evidence=choose.choice(("name", "value", "weights", "rule")))
                    for node in claims
                ),
                reads=tuple(reads) if tell_reads else None,
                output_shape=last.output_shape if tell_shapes else None,
                weight_shape=graph.nodes[heavy[0]].weight_shape if heavy and tell_shapes else None,
            )
        )
    truth = {node: rows[places[kernel]].name for node, kernel in kernel_of.items()}
    return Profile(rows=tuple(rows), inference_ms=(10.0, 10.0, 10.0)), truth


def shuffled(profile: Profile, order: list[int]) -> Profile:
    """*profile* with the claims of its rows exchanged: the i-th row that claims anything takes those of *order*[i]."""
    claiming = [place for place, row in enumerate(profile.rows) if row.claims]
    rows = list(profile.rows)
    for place, other in zip(claiming, order, strict=True):
        taken = profile.rows[claiming[other]].claims
        rows[place] = Row(**{**vars(profile.rows[place]), "claims": taken})
    return Profile(rows=tuple(rows), inference_ms=profile.inference_ms)


def _row(name: str, kind: str, *, reads: list[int], told: bool, runtime: bool) -> Row:
    return Row(
        name=name,
        kind=kind,
        role="runtime" if runtime else "compute",
        times_ms=(0.1, 0.1, 0.1),
        reads=tuple(reads) if told else None,
    )


def _any_order(graph: Graph, choose: random.Random) -> list[int]:
    """A random order in which the nodes may run."""
    done: list[int] = []
    left = list(range(len(graph)))
    while left:
        ready = [node for node in left if all(at in done for at in graph.nodes[node].reads)]
        done.append(choose.choice(ready))
        left.remove(done[-1])
    return done


def _fuse(graph: Graph, order: list[int]) -> tuple[list[list[int]], dict[int, int]]:
    """Nodes of each kernel, in order of execution, and the kernel of each node."""
    kernels: list[list[int]] = []
    kernel_of: dict[int, int] = {}
    for node in order:
        facts = graph.nodes[node]
        if facts.op in FUSED and facts.reads:
            kernel = max(kernel_of[at] for at in facts.reads)
        else:
            kernel = len(kernels)
            kernels.append([])
        kernels[kernel].append(node)
        kernel_of[node] = kernel
    return kernels, kernel_of
