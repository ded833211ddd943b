"""How findings are made and ranked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...reports import words
from ...reports.layer_words import main_node
from ...reports.profiles import BackendProfile, Finding, RowTime
from .graph import MOVABLE

__all__ = ["cost", "finding", "ranked", "repeated", "telling_nodes", "without_nodes"]


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The costliest first; what concerns the first inference alone comes last."""
    return tuple(sorted(findings, key=lambda found: (found.once, -found.ms)))


def finding(rule: str, rows: Sequence[RowTime], what: str, advice: str, *, ms: float | None = None) -> Finding:
    """Of *rows*; all of their time could be saved, or *ms* of it."""
    return Finding(
        rule=rule,
        ms=sum(row.median_ms for row in rows) if ms is None else ms,
        words=what,
        advice=advice,
        nodes=telling_nodes(rows),
        rows=tuple(row.name for row in _costly(rows)),
    )


def telling_nodes(rows: Sequence[RowTime]) -> tuple[str, ...]:
    """The nodes that *rows* are about, costliest first."""
    return tuple(dict.fromkeys(name for row in _costly(rows) for name in _telling(row)))


def repeated(row: RowTime) -> bool:
    """Whether *row* computes again what another one has computed."""
    node = main_node(row)
    return node is not None and bool(node.repeats) and node.weight_shape is not None


def without_nodes(profile: BackendProfile) -> BackendProfile:
    """*profile* with nothing that its rows say of nodes."""
    rows = (row.model_copy(update={"nodes": (), "serves": ()}) for row in profile.rows)
    return profile.model_copy(update={"rows": tuple(rows)})


def _costly(rows: Sequence[RowTime]) -> list[RowTime]:
    return sorted(rows, key=lambda row: -row.median_ms)


def _telling(row: RowTime) -> Sequence[str]:
    """The nodes that *row* runs, without those that say little of it; else those that it is there for."""
    nodes = [node for node in row.nodes if not node.shared]
    return [node.name for node in nodes if node.op not in MOVABLE] or [node.name for node in nodes] or row.serves


def cost(profile: BackendProfile, rows: Sequence[RowTime]) -> str:
    """ "4 rows, 1.20 ms (12.3% of all rows)"."""
    ms = sum(row.median_ms for row in rows)
    share = words.percent(ms / profile.sum_ms if profile.sum_ms else None)
    return f"{words.plural(len(rows), 'row')}, {words.ms(ms)} ms ({share} of all rows)"
