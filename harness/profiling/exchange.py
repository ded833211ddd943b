"""Which anchors could be exchanged without any check noticing: for those there is nothing but the runtime's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from ...backends.profile import Row
from .anchors import Anchors
from .checks import check
from .flow import Flow
from .graph import Graph, members, same_shape
from .growth import grow

__all__ = ["exchangeable"]


def exchangeable(graph: Graph, rows: Sequence[Row], anchors: Anchors, flow: Flow) -> list[tuple[int, int]]:
    """Pairs of heavy nodes that could have each other's rows and no check would fail.

    Symmetric branches are such pairs, and where rows do not tell what they read any that could run in either order.
    """
    above, below = graph.nearest_before(anchors.owner), graph.nearest_after(anchors.owner)
    owner = anchors.owner

    def fits(node: int, row: int) -> bool:
        """A quick look, which leaves few pairs over."""
        return (
            all(flow.reaches(owner[at], row) for at in members(above[node]))
            and all(flow.reaches(row, owner[at]) for at in members(below[node]))
            and rows[row].weight_shape in (None, graph.nodes[node].weight_shape)
            and same_shape(rows[row].output_shape, graph.nodes[node].output_shape)
        )

    owned = [node for node in graph.heavy if node in owner]
    return [
        (first, second)
        for first, second in combinations(owned, 2)
        if owner[first] != owner[second]
        and graph.nodes[first].op == graph.nodes[second].op
        and fits(first, owner[second])
        and fits(second, owner[first])
        and _passes(graph, rows, _exchanged(anchors, first, second), flow)
    ]


def _exchanged(anchors: Anchors, first: int, second: int) -> Anchors:
    partner = {first: second, second: first}

    def other(node: int) -> int:
        return partner.get(node, node)

    return replace(
        anchors,
        owner={node: anchors.owner[other(node)] for node in anchors.owner},
        claimants={node: anchors.claimants[other(node)] for node in anchors.claimants},
        evidence={(other(node), row): evidence for (node, row), evidence in anchors.evidence.items()},
    )


def _passes(graph: Graph, rows: Sequence[Row], anchors: Anchors, flow: Flow) -> bool:
    return not any(check(graph, rows, anchors, grow(graph, rows, anchors, flow), flow).values())
