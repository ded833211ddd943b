"""What holds a cell back, by rules over its profile: each finding has its evidence, its nodes and what to try."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ...reports import words
from ...reports.layer_words import main_node
from ...reports.profiles import BackendProfile, Finding, RowNode, RowTime
from . import headroom
from .findings import cost, finding, ranked, repeated, telling_nodes, without_nodes
from .graph import MOVABLE, ROUNDINGS
from .scaling import threads_not_scaling

__all__ = ["explain"]

_ELEMENTWISE = frozenset(
    {
        *("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Sum"),
        *("Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu"),
        *("Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu"),
    }
)
"""What good kernels compute in passing, before they write their result."""
_FLOATS = ("f16", "f32", "fp16", "fp32", "bf16", "float")

_BETWEEN_SHARE = 0.03
_FIRST_TIMES = 10.0


def explain(profile: BackendProfile, beside: Sequence[BackendProfile] = ()) -> tuple[Finding, ...]:
    """All findings of *profile*, ranked; *beside* are others, among which may be the same cell with fewer threads.

    Where its mapping was refused, nothing is said of nodes.
    """
    known = without_nodes(profile) if profile.refused else profile
    rules: Sequence[Callable[[BackendProfile], Iterable[Finding]]] = (
        _repeated,
        _unfused,
        _roundings,
        _fallbacks,
        _copies,
        _unaccounted,
        headroom.memory_bound,
        headroom.small,
        headroom.far,
        _first,
    )
    found = [finding for rule in rules for finding in rule(known)]
    return ranked([*found, *threads_not_scaling(known, beside)])


def _repeated(profile: BackendProfile) -> Iterator[Finding]:
    """Layers that compute what another one has computed; each is a finding of its own. Either of both can be saved."""
    by_node = {node.name: row for row in profile.rows for node in row.nodes if not node.shared}
    for row in profile.rows:
        node = main_node(row)
        if node is not None and repeated(row):
            first = by_node.get(node.repeats, row)
            yield finding(
                "computed-twice",
                [row],
                f"{node.name} ({node.op}) computes again what {node.repeats} has computed: {cost(profile, [row])}",
                "let the model compute it once and use the result twice",
                ms=max(row.median_ms, first.median_ms),
            )


def _unfused(profile: BackendProfile) -> Iterator[Finding]:
    """Rows of nothing but cheap operators, behind a convolution or a product that is a row of its own."""
    nodes = {node.name: node for row in profile.rows for node in row.nodes}
    heavy = {name for name, node in nodes.items() if node.weight_shape is not None}

    def behind(node: RowNode) -> bool:
        """Whether *node* reads the result of a heavy one, roundings and views seen through."""
        sources = list(node.reads)
        while sources:
            name = sources.pop()
            if name in heavy:
                return True
            if name in nodes and nodes[name].op in MOVABLE:
                sources += nodes[name].reads
        return False

    rows = [
        row
        for row in profile.rows
        if row.standing in ("anchored", "grown")
        and {node.op for node in row.nodes} & _ELEMENTWISE
        and {node.op for node in row.nodes} <= _ELEMENTWISE | MOVABLE
        and any(behind(node) for node in row.nodes if node.op in _ELEMENTWISE)
    ]
    if rows:
        ops = words.listed(sorted({node.op for row in rows for node in row.nodes} & _ELEMENTWISE))
        yield finding(
            "unfused",
            rows,
            f"{ops} after a convolution or product run by themselves, though its kernel could do them in passing: "
            f"{cost(profile, rows)}",
            "compare with a backend that fuses them; an activation that this runtime fuses (Relu, Clip) costs nothing",
        )


def _roundings(profile: BackendProfile) -> Iterator[Finding]:
    """Quantizing and dequantizing in rows of their own."""
    rows = _rounding(profile)
    if rows:
        yield finding(
            "unfused-rounding",
            rows,
            f"quantizing and dequantizing run by themselves: {cost(profile, rows)}",
            "a rounding is free only between two int8 layers: quantize what lies between, or keep its neighbours in "
            "float (int8:keep=NODE|NODE, see `bakeoff diff`)",
        )


def _rounding(profile: BackendProfile) -> list[RowTime]:
    """The rows of *profile* that do nothing but quantize and dequantize."""
    ops = {node.name: node.op for row in profile.rows for node in row.nodes}
    return [
        row
        for row in profile.rows
        if row.standing in ("runtime", "unmapped")
        and ("quant" in row.kind.lower() or (row.serves and all(ops.get(name) in ROUNDINGS for name in row.serves)))
    ]


def _fallbacks(profile: BackendProfile) -> Iterator[Finding]:
    """Layers of a quantized net that were computed in float."""
    if not any(node.op in ROUNDINGS for row in profile.rows for node in row.nodes):
        return
    rows = [
        row
        for row in profile.rows
        if row.precision in _FLOATS
        and (node := main_node(row)) is not None
        and node.weight_shape is not None
        and row.standing == "anchored"
    ]
    if rows:
        precisions = words.listed(sorted({row.precision for row in rows}))
        yield finding(
            "float-fallback",
            rows,
            f"layers of a quantized net execute in {precisions}: {cost(profile, rows)}",
            "look whether both inputs and the output of each are quantized, and whether this runtime has an int8 "
            "kernel for its shape",
        )


def _copies(profile: BackendProfile) -> Iterator[Finding]:
    """The runtime's own rows, roundings aside: copies into other layouts."""
    rounding = _rounding(profile)
    rows = [row for row in profile.rows if row.standing == "runtime" and row not in rounding]
    if rows:
        kinds = words.listed(sorted({row.kind for row in rows}))
        yield finding(
            "copies",
            rows,
            f"copies into other layouts or types ({kinds}): {cost(profile, rows)}",
            "they stand where an operator lacks the layout of its neighbours: look at what runs before and after them",
        )


def _unaccounted(profile: BackendProfile) -> Iterator[Finding]:
    """Time between the rows: calls, scheduling, waiting for threads."""
    between = profile.own_between_ms
    if between > _BETWEEN_SHARE * profile.median_ms:
        each = 1e3 * between / max(1, len(profile.rows))
        share = words.percent(between / profile.median_ms)
        yield Finding(
            rule="between-rows",
            ms=between,
            words=f"no row accounts for {words.ms(between)} ms ({share} of an inference, the profiler's own left out), "
            f"{words.ms(each)} µs for each of {words.plural(len(profile.rows), 'row')}: calls, scheduling, waiting",
            advice="small layers are bound by it: larger batches, fewer threads or a runtime that fuses more have less",
            nodes=_all_nodes(profile),
        )


def _first(profile: BackendProfile) -> Iterator[Finding]:
    if profile.first_ms > _FIRST_TIMES * profile.median_ms:
        yield Finding(
            rule="first-inference",
            ms=profile.first_ms - profile.median_ms,
            once=True,
            words=f"the first inference takes {words.ms(profile.first_ms)} ms, "
            f"{words.times(profile.first_ms / profile.median_ms)} as long as later ones",
            advice="something is compiled, unpacked or allocated in it: infer once before the service takes requests",
            nodes=_all_nodes(profile),
        )


def _all_nodes(profile: BackendProfile) -> tuple[str, ...]:
    """The nodes of all rows, costliest first: of what concerns them all alike."""
    return telling_nodes(profile.rows)
