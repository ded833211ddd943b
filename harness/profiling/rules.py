"""What holds a cell back, by rules over its profile: each finding has its evidence, its nodes and what to try."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ...reports import words
from ...reports.layer_words import main_node
from ...reports.profiles import BackendProfile, Finding, RowNode, RowTime
from .graph import MOVABLE, ROUNDINGS

__all__ = ["explain", "ranked"]

_ELEMENTWISE = frozenset(
    {
        *("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Sum"),
        *("Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu"),
        *("Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu"),
    }
)
"""What good kernels compute in passing, before they write their result."""
_FLOATS = ("f16", "f32", "fp16", "fp32", "bf16", "float")

_RESIDUAL_SHARE = 0.03
_AT_THE_ROOF = 0.5
"""From this efficiency on a row is held to be bound by what its roof says."""
_FAR = 0.3
"""Below this one it is far from it."""
_SMALL_MS = 0.005
"""Rows that a machine could do in less than this: calling a kernel costs some microseconds by itself."""
_HEADROOM = ("far-from-limit", "memory-bound", "small-layers")
"""Findings of how much could be gained, or nothing, without a cause that could be removed: they come after those."""
_FIRST_TIMES = 10.0


def explain(profile: BackendProfile) -> tuple[Finding, ...]:
    """All findings of *profile*, ranked. Where its mapping was refused, only what needs no nodes is looked for."""
    rules: Sequence[Callable[[BackendProfile], Iterable[Finding]]] = (
        _repeated,
        _unfused,
        _roundings,
        _fallbacks,
        _copies,
        _unaccounted,
        _memory_bound,
        _small,
        _far,
        _first,
    )
    needs_nodes = (_repeated, _unfused, _fallbacks)
    return ranked(
        finding for rule in rules if not (profile.refused and rule in needs_nodes) for finding in rule(profile)
    )


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The costliest first; then what only tells how far the limit is; what concerns the first inference comes last."""
    return tuple(sorted(findings, key=lambda finding: (finding.once, finding.rule in _HEADROOM, -finding.ms)))


def _finding(rule: str, rows: Sequence[RowTime], what: str, advice: str) -> Finding:
    """Of *rows*, whose time it is about."""
    costly = sorted(rows, key=lambda row: -row.median_ms)
    return Finding(
        rule=rule,
        ms=sum(row.median_ms for row in rows),
        words=what,
        advice=advice,
        nodes=tuple(dict.fromkeys(name for row in costly for name in _telling(row))),
        rows=tuple(row.name for row in costly),
    )


def _telling(row: RowTime) -> Sequence[str]:
    """The nodes that *row* runs, without those that say little of it; else those that it is there for."""
    nodes = [node for node in row.nodes if not node.shared]
    return [node.name for node in nodes if node.op not in MOVABLE] or [node.name for node in nodes] or row.serves


def _cost(profile: BackendProfile, rows: Sequence[RowTime]) -> str:
    """ "4 rows, 1.20 ms (12.3% of all rows)"."""
    ms = sum(row.median_ms for row in rows)
    share = words.percent(ms / profile.sum_ms if profile.sum_ms else None)
    return f"{words.plural(len(rows), 'row')}, {words.ms(ms)} ms ({share} of all rows)"


def _repeated(profile: BackendProfile) -> Iterator[Finding]:
    """Layers that compute what another one has computed; each is a finding of its own."""
    for row in profile.rows:
        node = main_node(row)
        if node is not None and node.repeats and node.weight_shape is not None:
            yield _finding(
                "computed-twice",
                [row],
                f"{node.name} ({node.op}) computes again what {node.repeats} has computed: {_cost(profile, [row])}",
                "let the model compute it once and use the result twice",
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
        yield _finding(
            "unfused",
            rows,
            f"{ops} after a convolution or product run by themselves, though its kernel could do them in passing: "
            f"{_cost(profile, rows)}",
            "compare with a backend that fuses them; an activation that this runtime fuses (Relu, Clip) costs nothing",
        )


def _roundings(profile: BackendProfile) -> Iterator[Finding]:
    """Quantizing and dequantizing in rows of their own."""
    rows = _rounding(profile)
    if rows:
        yield _finding(
            "unfused-rounding",
            rows,
            f"quantizing and dequantizing run by themselves: {_cost(profile, rows)}",
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
        yield _finding(
            "float-fallback",
            rows,
            f"layers of a quantized net execute in {precisions}: {_cost(profile, rows)}",
            "look whether both inputs and the output of each are quantized, and whether this runtime has an int8 "
            "kernel for its shape",
        )


def _copies(profile: BackendProfile) -> Iterator[Finding]:
    """The runtime's own rows, roundings aside: copies into other layouts."""
    rounding = _rounding(profile)
    rows = [row for row in profile.rows if row.standing == "runtime" and row not in rounding]
    if rows:
        kinds = words.listed(sorted({row.kind for row in rows}))
        yield _finding(
            "copies",
            rows,
            f"copies into other layouts or types ({kinds}): {_cost(profile, rows)}",
            "they stand where an operator lacks the layout of its neighbours: look at what runs before and after them",
        )


def _unaccounted(profile: BackendProfile) -> Iterator[Finding]:
    """Time between the rows: calls, scheduling, waiting for threads."""
    if profile.residual_ms > _RESIDUAL_SHARE * profile.median_ms:
        each = 1e3 * profile.residual_ms / max(1, len(profile.rows))
        share = words.percent(profile.residual_ms / profile.median_ms)
        yield Finding(
            rule="between-rows",
            ms=profile.residual_ms,
            words=f"no row accounts for {words.ms(profile.residual_ms)} ms ({share} of an inference), "
            f"{words.ms(each)} µs for each of {words.plural(len(profile.rows), 'row')}: calls, scheduling, waiting",
            advice="small layers are bound by it: larger batches, fewer threads or a runtime that fuses more have less",
        )


def _memory_bound(profile: BackendProfile) -> Iterator[Finding]:
    """Layers that take about as long as it takes to move their data: depthwise convolutions, above all."""
    rows = [
        row
        for row in profile.rows
        if row.roof is not None and row.roof.bound == "memory" and (row.efficiency or 0.0) >= _AT_THE_ROOF
    ]
    if rows:
        moved = sum(row.roof.moved_bytes for row in rows if row.roof is not None)
        limit, took = sum(row.limit_ms or 0.0 for row in rows), sum(row.median_ms for row in rows)
        levels = words.listed(sorted({row.roof.tier for row in rows if row.roof is not None}))
        yield _finding(
            "memory-bound",
            rows,
            f"bound by memory ({levels}): {_cost(profile, rows)}; moving their {words.size(moved)} takes at least "
            f"{words.ms(limit)} ms here ({words.percent(limit / took)})",
            "faster arithmetic gains nothing there: move less (int8, fewer channels, a smaller input), or fuse them "
            "with their neighbours",
        )


def _small(profile: BackendProfile) -> Iterator[Finding]:
    """Layers with so little to do that calling their kernels is most of it."""
    rows = [row for row in profile.rows if _is_far(row) and (row.limit_ms or 0.0) < _SMALL_MS]
    if rows:
        limit = sum(row.limit_ms or 0.0 for row in rows)
        yield _finding(
            "small-layers",
            rows,
            f"small layers, bound by the cost of calling them: {_cost(profile, rows)}, "
            f"{words.ms(1e3 * sum(row.median_ms for row in rows) / len(rows))} µs each; their work takes this machine "
            f"{words.ms(limit)} ms",
            "a larger batch, fewer threads, or a runtime that fuses more spends less on them",
        )


def _far(profile: BackendProfile) -> Iterator[Finding]:
    """Layers that take several times as long as this machine needs for them."""
    rows = [row for row in profile.rows if _is_far(row) and (row.limit_ms or 0.0) >= _SMALL_MS]
    if rows:
        found = _finding(
            "far-from-limit",
            rows,
            f"far from this machine's limit: {_cost(profile, rows)}, where "
            f"{words.ms(sum(_reachable_ms(row) for row in rows))} ms could do",
            "look whether another backend has a better kernel for their shapes (`--against`); tuned schedules "
            "(`bakeoff tune`) may, too",
        )
        yield found.model_copy(update={"ms": sum(row.median_ms - _reachable_ms(row) for row in rows)})


def _is_far(row: RowTime) -> bool:
    return row.roof is not None and _reachable_ms(row) < _FAR * row.median_ms


def _reachable_ms(row: RowTime) -> float:
    """The limit of *row* by the textbook's algorithm: that a kernel does without Winograd's is no fault of it."""
    return max(row.roof.direct_ms, row.roof.memory_ms) if row.roof is not None else 0.0


def _first(profile: BackendProfile) -> Iterator[Finding]:
    if profile.first_ms > _FIRST_TIMES * profile.median_ms:
        yield Finding(
            rule="first-inference",
            ms=profile.first_ms - profile.median_ms,
            once=True,
            words=f"the first inference takes {words.ms(profile.first_ms)} ms, "
            f"{words.times(profile.first_ms / profile.median_ms)} as long as later ones",
            advice="something is compiled, unpacked or allocated in it: infer once before the service takes requests",
        )
