"""The ONNX graph as the alignment sees it: who comes before whom, whatever lies between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...models.nodes import Node

__all__ = ["MOVABLE", "ROUNDINGS", "Graph", "members", "same_shape"]

ROUNDINGS = frozenset({"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"})

MOVABLE = frozenset(
    {
        "Cast",
        "DequantizeLinear",
        "Dropout",
        "Flatten",
        "Identity",
        "QuantizeLinear",
        "Reshape",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that round or only arrange: compilers move them across others, so a row that does anything else besides is
no evidence of where they run."""


class Graph:
    """The live nodes of one ONNX file; a node is known by its place in topological order."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)
        self.places = {node.name: place for place, node in enumerate(self.nodes)}
        self.readers: tuple[tuple[int, ...], ...] = _readers(self.nodes)
        self.heavy = tuple(place for place, node in enumerate(self.nodes) if node.heavy)

    def __len__(self) -> int:
        return len(self.nodes)

    def movable(self, place: int) -> bool:
        """Whether the node only rounds or arranges."""
        return self.nodes[place].op in MOVABLE

    def nearest_before(self, chosen: Iterable[int]) -> list[int]:
        """For each node the *chosen* ones that it depends on with no other chosen one between, as a set of bits."""
        kept = set(chosen)
        found: list[int] = []
        for node in self.nodes:
            bits = 0
            for place in node.reads:
                bits |= 1 << place if place in kept else found[place]
            found.append(bits)
        return found

    def nearest_after(self, chosen: Iterable[int]) -> list[int]:
        """For each node the *chosen* ones that depend on it with no other chosen one between, as a set of bits."""
        kept = set(chosen)
        found = [0] * len(self.nodes)
        for place in range(len(self.nodes) - 1, -1, -1):
            for reader in self.readers[place]:
                found[place] |= 1 << reader if reader in kept else found[reader]
        return found


def members(bits: int) -> Iterator[int]:
    """The numbers in a set of *bits*, rising."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


def same_shape(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> bool:
    """Whether both have the same sizes, dimensions of one aside (runtimes drop and add them); unknown ones fit all."""
    if first is None or second is None:
        return True
    return [size for size in first if size != 1] == [size for size in second if size != 1]


def _readers(nodes: Sequence[Node]) -> tuple[tuple[int, ...], ...]:
    found: list[list[int]] = [[] for _ in nodes]
    for place, node in enumerate(nodes):
        for source in node.reads:
            found[source].append(place)
    return tuple(tuple(readers) for readers in found)
