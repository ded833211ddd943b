"""Nodes that no runtime names, given to rows along the graph: a guess from where the anchors lie, and shown as one.

Growing alone looks perfect whatever the anchors are, so nothing here is evidence of anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...backends.profile import Row
from .anchors import Anchors
from .flow import Flow
from .graph import Graph, members, same_shape

__all__ = ["grow"]


def grow(graph: Graph, rows: Sequence[Row], anchors: Anchors, flow: Flow) -> dict[int, int]:
    """Rows for nodes that have none in *anchors*.

    First every row of computation that claims nothing takes a node that lies between the rows before and after it.
    Then a light node goes to the row that makes what it reads, as compilers fuse it, and what lies before all rows goes
    to the first that reads it. A heavy node is grown into only by a row of the same kind.
    """
    owner = dict(anchors.owner)
    _settle_rows(graph, rows, anchors, flow, owner)
    _settle_after(graph, flow, owner)
    _settle_before(graph, owner)
    return {node: row for node, row in owner.items() if node not in anchors.owner}


def _settle_rows(graph: Graph, rows: Sequence[Row], anchors: Anchors, flow: Flow, owner: dict[int, int]) -> None:
    claimed = anchors.rows()
    for place, row in enumerate(rows):
        if row.role == "runtime" or place in claimed:
            continue
        seed = _seed(graph, row, _between(graph, place, flow, owner))
        if seed is not None:
            owner[seed] = place


def _between(graph: Graph, row: int, flow: Flow, owner: dict[int, int]) -> list[int]:
    """Nodes without a row for which *row* is in time: after all rows that they depend on, before all that need them."""
    above, below = graph.nearest_before(owner), graph.nearest_after(owner)
    return [
        node
        for node in range(len(graph))
        if node not in owner
        and all(flow.reaches(owner[source], row) and owner[source] != row for source in members(above[node]))
        and all(flow.reaches(row, owner[reader]) and owner[reader] != row for reader in members(below[node]))
    ]


def _seed(graph: Graph, row: Row, candidates: Sequence[int]) -> int | None:
    """The node of *candidates* that *row* is, by its kind and the shape of its output; else the first light one."""
    fitting = [node for node in candidates if same_shape(row.output_shape, graph.nodes[node].output_shape)]
    alike = [node for node in fitting if _same_kind(row.kind, graph.nodes[node].op)]
    light = [node for node in fitting if not graph.nodes[node].heavy]
    return next(iter([*alike, *light]), None)


def _same_kind(ours: str, theirs: str) -> bool:
    """Whether both words mean one operator: "MAX_POOL_2D" is a MaxPool, "Mean" a ReduceMean."""
    left, right = (re.sub("[^a-z]", "", word.lower()) for word in (ours, theirs))
    return bool(left) and (left in right or right in left)


def _settle_after(graph: Graph, flow: Flow, owner: dict[int, int]) -> None:
    direct = flow.direct(set(owner.values()))

    def has(row: int, sources: set[int]) -> bool:
        """Whether *row* reads all of *sources* itself."""
        return all(source == row or direct[row] >> source & 1 for source in sources)

    for place, node in enumerate(graph.nodes):
        if place in owner or node.heavy:
            continue
        sources = {owner[source] for source in node.reads if source in owner}
        if not sources:
            continue
        # Whoever ran last of them, if it had all that is wanted; else a reader computes it, or each reader does.
        readers = sorted(owner[reader] for reader in graph.readers[place] if reader in owner)
        candidates = [*sorted(sources, reverse=True), *readers]
        owner[place] = next((row for row in candidates if has(row, sources)), max(sources))


def _settle_before(graph: Graph, owner: dict[int, int]) -> None:
    for place in range(len(graph) - 1, -1, -1):
        if place in owner or graph.nodes[place].heavy:
            continue
        readers = [owner[reader] for reader in graph.readers[place] if reader in owner]
        if readers:
            owner[place] = min(readers)
