"""Rows of a runtime's own: which these are, and which nodes they are there for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...backends.profile import Row
from .flow import Flow
from .graph import ROUNDINGS, Graph

__all__ = ["served", "settle_roles"]


def settle_roles(graph: Graph, rows: Sequence[Row]) -> tuple[Row, ...]:
    """*rows*, those that do nothing but quantize and dequantize as rows of the runtime's own, whoever asked for it.

    Some runtimes execute roundings where the file has them, some where they like, some not at all: they are what the
    precision costs around the layers, and no layer.
    """
    return tuple(replace(row, role="runtime") if _rounds(graph, row) else row for row in rows)


def served(
    graph: Graph, rows: Sequence[Row], owned: Mapping[int, Sequence[int]], flow: Flow
) -> dict[int, tuple[int, ...]]:
    """The nodes that each row of the runtime's own is there for; *owned* are those of the other rows, by row.

    Those that it names itself; else those of the first row that takes its result, or, at the end, of the row that it
    takes its own from.
    """
    found: dict[int, tuple[int, ...]] = {}
    for place, row in enumerate(rows):
        if row.role != "runtime":
            continue
        named = {graph.places[claim.node] for claim in row.claims if claim.node in graph.places}
        found[place] = tuple(sorted(named)) or tuple(owned.get(_neighbour(place, owned, flow), ()))
    return found


def _rounds(graph: Graph, row: Row) -> bool:
    claimed = [graph.places[claim.node] for claim in row.claims if claim.node in graph.places]
    return bool(claimed) and all(graph.nodes[node].op in ROUNDINGS for node in claimed)


def _neighbour(place: int, owned: Mapping[int, Sequence[int]], flow: Flow) -> int:
    """The row with nodes of its own that is next to the one at *place*; -1 if there is none."""
    direct = flow.direct({place, *owned})
    after = (row for row in range(place + 1, len(direct)) if row in owned and direct[row] >> place & 1)
    return next(after, direct[place].bit_length() - 1)
