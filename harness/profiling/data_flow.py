"""Whether each row can have had what its nodes take: from the rows that it reads, or by computing it again itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from .anchors import Anchors
from .flow import Flow
from .graph import Graph

__all__ = ["lacking"]


def lacking(graph: Graph, anchors: Anchors, grown: Mapping[int, int], flow: Flow) -> Iterator[tuple[int, int, int]]:
    """(row, node, what is lacking) for each node of a row that has no way to what it reads.

    A row has what it computes itself, and what rows hand it that it reads with no other mapped row between. Nodes that
    no runtime names it can have computed again, if it has all that these take: compilers do that with cheap ones.
    """
    rows_of: dict[int, tuple[int, ...]] = {node: (row,) for node, row in grown.items()}
    rows_of.update(anchors.claimants)
    direct = flow.direct({row for rows in rows_of.values() for row in rows})

    def has(row: int, node: int) -> bool:
        return any(maker == row or direct[row] >> maker & 1 for maker in rows_of.get(node, ()))

    for node, rows in rows_of.items():
        for row in rows:
            if any(direct[row] >> other & 1 for other in rows if other != row):
                continue  # a later part of the same node takes what the earlier one made
            missing = _missing(graph, anchors, node, partial(has, row))
            if missing is not None:
                yield row, node, missing


def _missing(graph: Graph, anchors: Anchors, node: int, has: Callable[[int], bool]) -> int | None:
    """A node that *node* depends on and that is not to be had; None if all is."""
    wanted, seen = list(graph.nodes[node].reads), set[int]()
    while wanted:
        source = wanted.pop()
        if source in seen or has(source):
            continue
        if source in anchors.owner:
            return source
        seen.add(source)
        wanted += graph.nodes[source].reads
    return None
