"""A profile mapped to an ONNX graph: which row runs which nodes, on what evidence, and how much of the time that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from ...backends.profile import Evidence, Profile, Row
from .anchors import Anchors, find_anchors
from .checks import check
from .exchange import exchangeable
from .flow import Flow
from .graph import Graph
from .growth import grow
from .serving import served, settle_roles

__all__ = ["LayerMap", "MappedNode", "MappedRow", "Shares", "Standing", "map_profile"]

Standing = Literal["anchored", "grown", "runtime", "unmapped"]


@dataclass(frozen=True, kw_only=True)
class MappedNode:
    """A node of a row, and why it is held to be there."""

    place: int
    """In `Graph.nodes`."""
    evidence: Evidence | Literal["grown"]
    shared: bool = False
    """Another row owns it, and this one computes a part of it, or computes it again."""


@dataclass(frozen=True, kw_only=True)
class MappedRow:
    """One row of the profile with its nodes."""

    row: Row
    median_ms: float
    standing: Standing
    """"anchored": evidence names a node; "grown": only the graph's structure does; "runtime": the runtime's own work;
    "unmapped": nobody knows."""
    nodes: tuple[MappedNode, ...]
    """In topological order."""
    serves: tuple[int, ...] = ()
    """Of a row of the runtime's own: the nodes that it is there for, by their places in `Graph.nodes`."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Parts of the sum of the rows' medians, 0 to 1."""

    anchored: float
    grown: float
    runtime: float
    unmapped: float


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    """All rows of a profile, mapped, and what was checked."""

    rows: tuple[MappedRow, ...]
    """In order of execution."""
    failures: Mapping[str, tuple[str, ...]]
    """By the name of the check (see `checks.check`); empty where it holds."""
    exchangeable: tuple[tuple[int, int], ...]
    """Pairs of heavy nodes that no check tells apart."""

    @property
    def refused(self) -> bool:
        """Whether any check failed: then nothing that it says of nodes may be used."""
        return any(self.failures.values())

    @property
    def sum_ms(self) -> float:
        """Sum of the rows' medians."""
        return sum(row.median_ms for row in self.rows)

    @property
    def shares(self) -> Shares:
        """How much of the time is known how well."""
        total = self.sum_ms or 1.0
        by = dict.fromkeys(("anchored", "grown", "runtime", "unmapped"), 0.0)
        for row in self.rows:
            by[row.standing] += row.median_ms / total
        return Shares(**by)


def map_profile(graph: Graph, profile: Profile) -> LayerMap:
    """Map the rows of *profile* to the nodes of *graph* that was compiled."""
    rows = settle_roles(graph, profile.rows)
    anchors, flow = find_anchors(graph, rows), Flow(rows)
    grown = grow(graph, rows, anchors, flow)
    nodes, anchored = _nodes_by_row(anchors, grown), anchors.rows()
    serving = served(graph, rows, {row: [node.place for node in found] for row, found in nodes.items()}, flow)
    return LayerMap(
        rows=tuple(
            MappedRow(
                row=row,
                median_ms=median(row.times_ms),
                standing=_standing(row, nodes.get(place, ()), place in anchored),
                nodes=tuple(nodes.get(place, ())),
                serves=serving.get(place, ()),
            )
            for place, row in enumerate(rows)
        ),
        failures=check(graph, rows, anchors, grown, flow),
        exchangeable=tuple(exchangeable(graph, rows, anchors, flow)),
    )


def _nodes_by_row(anchors: Anchors, grown: Mapping[int, int]) -> dict[int, list[MappedNode]]:
    found: dict[int, list[MappedNode]] = {}
    for node, claimants in anchors.claimants.items():
        for row in claimants:
            owned = row == anchors.owner[node]
            found.setdefault(row, []).append(
                MappedNode(place=node, evidence=anchors.evidence[node, row], shared=not owned)
            )
    for node, row in grown.items():
        found.setdefault(row, []).append(MappedNode(place=node, evidence="grown"))
    return {row: sorted(nodes, key=lambda node: node.place) for row, nodes in found.items()}


def _standing(row: Row, nodes: Sequence[MappedNode], anchored: bool) -> Standing:
    if row.role == "runtime":
        return "runtime"
    if anchored:
        return "anchored"
    return "grown" if nodes else "unmapped"
