"""Nodes that a runtime itself tells of: claims of a profile's rows, settled so that one row owns each node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from ...backends.profile import Evidence, Row
from .graph import Graph

__all__ = ["Anchors", "find_anchors"]

_STRENGTH = {evidence: rank for rank, evidence in enumerate(get_args(Evidence))}


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Who runs what by evidence; nodes and rows by their places."""

    owner: Mapping[int, int]
    """Node -> the row that it belongs to."""
    evidence: Mapping[tuple[int, int], Evidence]
    """(node, row that claims it) -> its strongest evidence for it."""
    claimants: Mapping[int, tuple[int, ...]]
    """Node -> all rows that claim it, in order: a light node may be computed in several parts, or several times."""
    contested: tuple[int, ...]
    """Heavy nodes that more than one row claims."""

    def rows(self) -> set[int]:
        """The rows with any evidence."""
        return {row for rows in self.claimants.values() for row in rows}


def find_anchors(graph: Graph, rows: Sequence[Row]) -> Anchors:
    """Settle the claims of *rows*: the strongest evidence owns a node, among equals the row that ran first.

    A row of the runtime's own is never anchored, nor is a name that is no live node of *graph* (compilers tell of
    weights that they folded, too). Of a row's claims on movable nodes nothing is kept if it claims others as well.

    Compilers compute once what is the very same: a heavy node that nobody claims then belongs to whoever runs that.
    """
    strongest: dict[int, dict[int, Evidence]] = {}
    for place, row in enumerate(rows):
        for node, evidence in _claims(graph, row).items():
            strongest.setdefault(node, {})[place] = evidence
    for node in graph.heavy:
        same = graph.nodes[node].repeats
        if node not in strongest and same in strongest:
            strongest[node] = strongest[same]
    owner = {node: min(found, key=lambda row: (_STRENGTH[found[row]], row)) for node, found in strongest.items()}
    claimants = {node: tuple(sorted(found)) for node, found in strongest.items()}
    return Anchors(
        owner=owner,
        evidence={(node, row): strongest[node][row] for node, claiming in claimants.items() for row in claiming},
        claimants=claimants,
        contested=tuple(node for node in graph.heavy if len(claimants.get(node, ())) > 1),
    )


def _claims(graph: Graph, row: Row) -> dict[int, Evidence]:
    """The nodes that *row* claims, each with its strongest evidence."""
    if row.role == "runtime":
        return {}
    found: dict[int, Evidence] = {}
    for claim in row.claims:
        node = graph.places.get(claim.node)
        if node is not None and (node not in found or _STRENGTH[claim.evidence] < _STRENGTH[found[node]]):
            found[node] = claim.evidence
    settled = {node: evidence for node, evidence in found.items() if not graph.movable(node)}
    return settled or found
