"""Which ONNX nodes the kernels of LiteRT run: those that the results of their operators are named after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from .litert_events import OWN, Event
from .litert_operators import Operator
from .litert_pairs import Pair, pair_events
from .profile import Claim, Evidence, Row, unique_names
from .profile_axes import CHANNELS_LAST, Axes, kept, onnx_shape, plain, transposed
from .profile_graph import ProfiledGraph, as_in_file

__all__ = ["describe_rows", "onnx_shapes"]

_COPIES = {"PAD": "Pad", "PADV2": "Pad", "TRANSPOSE": "Transpose"}
"""Operators that the converter puts in front of others, but for those of a node of that ONNX operator."""

_CONVERSIONS = frozenset({"DEQUANTIZE", "QUANTIZE"})

_ACTIVATIONS = frozenset({"Clip", "Max", "Min", "Relu"})
"""What LiteRT fuses behind other operators."""

_CHANNELS_LAST_KINDS = frozenset(
    {"AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "TRANSPOSE_CONV"}
)


def describe_rows(
    events: Sequence[Event], times_ms: Sequence[tuple[float, ...]], operators: Sequence[Operator], graph: ProfiledGraph
) -> tuple[Row, ...]:
    """Rows of *events*, which took *times_ms*."""
    pairs = pair_events(events, operators)
    claims = _claims(pairs, operators, graph)
    reads = _reads(pairs, operators)
    names = unique_names([event.tag for event in events])
    shapes = onnx_shapes(operators, graph)
    parts = Counter(node for found in claims for node in found)
    rows = []
    for place, (event, pair) in enumerate(zip(events, pairs, strict=True)):
        operator = None if pair.operator is None else operators[pair.operator]
        whole = all(parts[node] == 1 and len(graph.nodes[node].output) == 1 for node in claims[place])
        rows.append(
            Row(
                name=names[place],
                kind=event.tag if operator is None or pair.extra else operator.kind,
                role="runtime" if operator and _is_runtime(operator, claims[place]) else "compute",
                times_ms=times_ms[place],
                claims=tuple(Claim(node=node, evidence=_evidence(event)) for node in claims[place]),
                reads=reads[place],
                output_shape=shapes[pair.operator] if pair.operator is not None and whole else None,
                weight_shape=_weight_shape(operator, claims[place], graph) if operator and not pair.extra else None,
                precision=operator.precision if operator else "",
            )
        )
    return tuple(rows)


def _evidence(event: Event) -> Evidence:
    """LiteRT's own kernels tell their operator; others are only known to run in the order of theirs."""
    return "name" if event.kind == OWN else "order"


def _claims(pairs: Sequence[Pair], operators: Sequence[Operator], graph: ProfiledGraph) -> list[tuple[str, ...]]:
    """For each pair the nodes that it runs. Of an operator with two kernels the second runs the activations."""
    split = {pair.operator for pair in pairs if pair.extra}
    claims = []
    for pair in pairs:
        nodes = () if pair.operator is None else _nodes(operators[pair.operator], graph)
        if pair.operator in split:
            nodes = tuple(node for node in nodes if pair.extra == (graph.op_type(node) in _ACTIVATIONS))
        claims.append(nodes)
    return claims


def _nodes(operator: Operator, graph: ProfiledGraph) -> tuple[str, ...]:
    """The node that an operator is, and the activations fused behind it, the last one first; () for copies."""
    named = [name for name in operator.modules if name in graph.nodes]
    if operator.output is not None:
        named.insert(0, graph.maker[graph.outputs[operator.output]])
    if operator.heavy:
        core = _core(operator, named, graph)
        return (*_behind(core, named, graph), core) if core else ()
    light = [name for name in named if name not in graph.heavy]
    if not light or (operator.kind in _COPIES and graph.op_type(light[0]) != _COPIES[operator.kind]):
        return ()
    chain = [light[0]]
    while graph.op_type(chain[-1]) in _ACTIVATIONS:
        before = [name for name in graph.sources(chain[-1]) if name in light and name not in chain]
        if not before:
            break
        chain.append(before[0])
    return tuple(chain)


def _core(operator: Operator, named: Sequence[str], graph: ProfiledGraph) -> str:
    """The convolution or product that a heavy operator is: its result and its weight bear the name."""
    heavy = [name for name in dict.fromkeys(named) if name in graph.heavy]
    weights = [name for name in operator.weight_modules if name in graph.heavy]
    both = [name for name in heavy if name in weights]
    found = both or heavy or weights
    return found[0] if len(found) == 1 else ""


def _behind(core: str, named: Sequence[str], graph: ProfiledGraph) -> tuple[str, ...]:
    """The activations among *named* that follow *core*, the last one first."""
    chain: list[str] = []
    at = core
    while True:
        after = [name for name in named if graph.op_type(name) in _ACTIVATIONS and at in graph.sources(name)]
        if not after or after[0] in chain:
            return tuple(reversed(chain))
        at = after[0]
        chain.append(at)


def _is_runtime(operator: Operator, claims: Sequence[str]) -> bool:
    return operator.kind in _CONVERSIONS or (operator.kind in _COPIES and not claims)


def _weight_shape(operator: Operator, claims: Sequence[str], graph: ProfiledGraph) -> tuple[int, ...] | None:
    heavy = [name for name in claims if name in graph.heavy]
    if operator.weight_shape is None or not heavy:
        return None
    return as_in_file(operator.weight_shape, graph.heavy[heavy[0]].weight_shape)


def _reads(pairs: Sequence[Pair], operators: Sequence[Operator]) -> list[tuple[int, ...] | None]:
    """For each pair the rows whose results it takes; None where its operator is not known."""
    maker = {tensor: place for place, operator in enumerate(operators) for tensor in operator.writes}
    latest: dict[int, int] = {}
    found: list[tuple[int, ...] | None] = []

    def sources(place: int) -> set[int]:
        """Rows that the operator at *place* reads, through operators that have none."""
        rows = set()
        for tensor in operators[place].reads:
            before = maker.get(tensor)
            if before is not None:
                rows |= {latest[before]} if before in latest else sources(before)
        return rows

    for row, pair in enumerate(pairs):
        if pair.operator is None:
            found.append(None)
            continue
        found.append((latest[pair.operator],) if pair.extra else tuple(sorted(sources(pair.operator))))
        latest[pair.operator] = row
    return found


def onnx_shapes(operators: Sequence[Operator], graph: ProfiledGraph) -> list[tuple[int, ...] | None]:
    """Shape of the first result of each operator, in the ONNX file's order of axes; None where that is not known."""
    axes: dict[int, Axes] = {}
    shapes: list[tuple[int, ...] | None] = []
    for operator in operators:
        order = _axes(operator, axes, graph)
        axes.update(dict.fromkeys(operator.writes, order))
        shapes.append(onnx_shape(operator.shape, order))
    return shapes


def _axes(operator: Operator, known: Mapping[int, Axes], graph: ProfiledGraph) -> Axes:
    """Axes of the operator's result; tensors that are not *known* are as in the ONNX file."""
    rank = len(operator.shape)
    given = [known[tensor] for tensor in operator.reads if tensor in known]
    if operator.kind in _CHANNELS_LAST_KINDS and rank == len(CHANNELS_LAST):
        return CHANNELS_LAST
    if operator.kind == "TRANSPOSE":
        before = given[0] if given else plain(rank)
        return transposed(before, operator.permutation, of_the_file=bool(_nodes(operator, graph)))
    return kept(given, rank, arranges=operator.kind == "RESHAPE")
