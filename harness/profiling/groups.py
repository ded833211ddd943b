"""Parts of a graph that every backend runs in rows of their own: the level at which backends can be compared.

Each compiler fuses differently (a residual Add belongs to one convolution here, to another there), so nodes that lie
in one row of any backend belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...models.sets import Sets
from .graph import Graph
from .mapping import LayerMap, MappedRow

__all__ = ["LayerGroup", "group_layers"]


@dataclass(frozen=True, kw_only=True)
class LayerGroup:
    """Nodes that are compared as one, and what they took in each backend."""

    nodes: tuple[int, ...]
    """Places in `Graph.nodes`, rising."""
    ms: Mapping[str, float]
    """By backend; one that runs none of these nodes in a row of its own is left out."""


def group_layers(graph: Graph, maps: Mapping[str, LayerMap]) -> list[LayerGroup]:
    """The groups of *graph* over all backends of *maps*, in topological order of their first nodes.

    A refused mapping takes no part. Rows without nodes (the runtime's own, and unmapped ones) are in no group.
    """
    usable = {backend: found for backend, found in maps.items() if not found.refused}
    sets, used = Sets(len(graph)), set[int]()
    for found in usable.values():
        for row in found.rows:
            nodes = _own(row)
            used.update(nodes)
            for node in nodes[1:]:
                sets.join(nodes[0], node)
    spent: dict[int, dict[str, float]] = {sets.find(node): {} for node in sorted(used)}
    for backend, found in usable.items():
        for row in found.rows:
            for node in _own(row)[:1]:
                by = spent[sets.find(node)]
                by[backend] = by.get(backend, 0.0) + row.median_ms
    nodes_of: dict[int, list[int]] = {root: [] for root in spent}
    for node in sorted(used):
        nodes_of[sets.find(node)].append(node)
    return [LayerGroup(nodes=tuple(nodes_of[root]), ms=spent[root]) for root in sorted(spent)]


def _own(row: MappedRow) -> list[int]:
    """The nodes that *row* owns; one that owns none counts with those that it has a part in."""
    owned = [node.place for node in row.nodes if not node.shared]
    return owned or [node.place for node in row.nodes]
