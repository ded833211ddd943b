"""What must hold of a mapping that is true. Each check can fail, and one that does refuses the whole mapping.

The order of the graph's nodes is what makes a mapping hard to get by chance: a node may only run after all that it
depends on, and with the results of these. Anchors that were exchanged among rows keep that only where the graph looks
the same from both nodes; `exchange` tells of which pairs that is so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ...backends.profile import Row
from .anchors import Anchors
from .data_flow import lacking
from .flow import Flow
from .graph import Graph, members, same_shape

__all__ = ["check"]

_SHOWN = 3

Failures = Mapping[str, tuple[str, ...]]


def check(graph: Graph, rows: Sequence[Row], anchors: Anchors, grown: Mapping[int, int], flow: Flow) -> Failures:
    """What failed, in words, by the name of the check; empty where it holds.

    Checks of which nothing is known are left out.

    | check | holds if |
    |---|---|
    | `heavy_owned_once` | every heavy node belongs to one row, by evidence |
    | `claims_agree` | no heavy node is claimed by two rows |
    | `order` | no row runs before one that it needs, by the graph |
    | `data_flow` | every row reads, or can compute, what its nodes take; where rows tell what they read |
    | `weight_shapes` | the weights of a row are as large as those of its node; where rows tell |
    | `output_shapes` | a row's output is as large as that of its nodes; where rows tell |
    """
    by_order = Flow([replace(row, reads=None) for row in rows])
    found: dict[str, tuple[str, ...]] = {
        "heavy_owned_once": tuple(_unowned(graph, anchors)),
        "claims_agree": tuple(_contested(graph, rows, anchors)),
        "order": tuple(_early(graph, rows, anchors, by_order)),
    }
    if flow.told:
        found["data_flow"] = tuple(
            f"{rows[row].name} runs {graph.nodes[node].name} without the result of {graph.nodes[source].name}"
            for row, node, source in lacking(graph, anchors, grown, flow)
        )
    anchored = sorted(anchors.rows())
    if any(rows[place].weight_shape is not None for place in anchored):
        found["weight_shapes"] = tuple(_weights(graph, rows, anchors))
    if any(rows[place].output_shape is not None for place in anchored):
        found["output_shapes"] = tuple(_outputs(graph, rows, anchors, grown))
    return found


def _unowned(graph: Graph, anchors: Anchors) -> Iterator[str]:
    for node in graph.heavy:
        if node not in anchors.owner:
            yield f"{graph.nodes[node].name} ({graph.nodes[node].op}) is claimed by no row"


def _contested(graph: Graph, rows: Sequence[Row], anchors: Anchors) -> Iterator[str]:
    for node in anchors.contested:
        names = " and ".join(rows[place].name for place in anchors.claimants[node])
        yield f"{graph.nodes[node].name} is claimed by {names}"


def _early(graph: Graph, rows: Sequence[Row], anchors: Anchors, flow: Flow) -> Iterator[str]:
    """Rows that claim a node and cannot have had what it depends on, or that nobody can have taken it from."""
    above, below = graph.nearest_before(anchors.owner), graph.nearest_after(anchors.owner)
    for node, claimants in anchors.claimants.items():
        name = graph.nodes[node].name
        for row in claimants:
            for source in members(above[node]):
                if not any(flow.reaches(maker, row) for maker in anchors.claimants[source]):
                    yield f"{rows[row].name} runs {name} without the result of {graph.nodes[source].name}"
            later = [reader for at in members(below[node]) for reader in anchors.claimants[at]]
            if later and not any(flow.reaches(row, reader) for reader in later):
                yield f"{rows[row].name} runs {name} after all that need it"


def _weights(graph: Graph, rows: Sequence[Row], anchors: Anchors) -> Iterator[str]:
    heavy = _heavy_by_row(graph, anchors)
    for place in sorted(anchors.rows()):
        row, nodes = rows[place], heavy.get(place, [])
        if row.weight_shape is None or len(nodes) > 1:  # of several nodes the weights may be joined into one
            continue
        if not nodes:
            yield f"{row.name} has weights of {_sizes(row.weight_shape)}, and no node with weights"
        else:
            shape = graph.nodes[nodes[0]].weight_shape
            if shape is not None and shape != row.weight_shape:
                wanted = f"{graph.nodes[nodes[0]].name} {_sizes(shape)}"
                yield f"{row.name} has weights of {_sizes(row.weight_shape)}, {wanted}"


def _outputs(graph: Graph, rows: Sequence[Row], anchors: Anchors, grown: Mapping[int, int]) -> Iterator[str]:
    own: dict[int, set[int]] = {}
    for node, claimants in anchors.claimants.items():
        for place in claimants:
            own.setdefault(place, set()).add(node)
    for node, place in grown.items():
        own.setdefault(place, set()).add(node)
    for place in sorted(anchors.rows()):
        shape = rows[place].output_shape
        candidates = [node for node in own[place] if node in anchors.claimants or _leaves(graph, node, own[place])]
        if not any(same_shape(shape, graph.nodes[node].output_shape) for node in candidates):
            names = ", ".join(graph.nodes[node].name for node in sorted(own[place])[:_SHOWN])
            yield f"{rows[place].name} gives {_sizes(shape)}, which is the output of none of {names}"


def _leaves(graph: Graph, node: int, nodes: set[int]) -> bool:
    """Whether the result of *node* is read outside of *nodes*."""
    return graph.nodes[node].output or any(reader not in nodes for reader in graph.readers[node])


def _heavy_by_row(graph: Graph, anchors: Anchors) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for node, claimants in anchors.claimants.items():
        if graph.nodes[node].heavy:
            for place in claimants:
                found.setdefault(place, []).append(node)
    return found


def _sizes(shape: tuple[int, ...] | None) -> str:
    return "x".join(str(size) for size in shape or ())
