"""Why one cell takes longer than another: layer by layer where both have it, and what only one of them does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...models.sets import Sets
from ...reports import words
from ...reports.layer_words import layer_label
from ...reports.profiles import BackendProfile, Explanation, Finding, GroupTimes, ProfileReport, RowTime
from .findings import ranked
from .graph import MOVABLE
from .rules import explain

__all__ = ["compare", "explain_cell"]

_LAYER_SHARE = 0.03
"""A layer counts as slower from this part of its own time on ..."""
_TOTAL_SHARE = 0.002
"""... and from this part of an inference."""
_DIFFERED = ("copies", "unfused-rounding", "between-rows", "first-inference", "threads-not-scaling")
"""Rules about what belongs to no layer: there the difference of both cells counts."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """Nodes that both cells can be compared by."""

    one: Sequence[GroupTimes]
    """What the cell to be explained has of it."""
    other: Sequence[GroupTimes]
    one_rows: list[RowTime] = field(default_factory=list)
    other_rows: list[RowTime] = field(default_factory=list)


def explain_cell(report: ProfileReport, profile: BackendProfile) -> Explanation:
    """What holds the cell of *profile*, which is one of *report*, back."""
    return Explanation(
        cell=_name(profile),
        against=None,
        median_ms=profile.median_ms,
        against_ms=None,
        findings=explain(profile, report.profiles),
    )


def compare(report: ProfileReport, one: BackendProfile, other: BackendProfile) -> Explanation:
    """Why the cell of *one* takes longer than that of *other*; both are profiles of *report*."""
    found: list[Finding] = []
    if not (one.refused or other.refused):
        for layer in _layers(report, one, other):
            found += _slower(layer, one, other)
    found += _more(explain(one, report.profiles), explain(other, report.profiles), other)
    return Explanation(
        cell=_name(one),
        against=_name(other),
        median_ms=one.median_ms,
        against_ms=other.median_ms,
        findings=ranked(found),
    )


def _name(profile: BackendProfile) -> str:
    return f"{profile.variant}/{profile.backend}/t{profile.threads}/b{profile.batch}/{profile.device}"


def _groups(report: ProfileReport, profile: BackendProfile) -> list[GroupTimes]:
    setting = (profile.variant, profile.threads, profile.batch, profile.device)
    return [
        group
        for group in report.groups
        if (group.variant, group.threads, group.batch, group.device) == setting and profile.backend in group.ms
    ]


def _layers(report: ProfileReport, one: BackendProfile, other: BackendProfile) -> Iterator[_Layer]:
    """Groups of both, joined wherever they hold a node of the same name."""
    ours, theirs = _groups(report, one), _groups(report, other)
    every = [*ours, *theirs]
    sets, first = Sets(len(every)), dict[str, int]()
    for place, group in enumerate(every):
        for name, op in zip(group.nodes, group.ops, strict=True):
            if op not in MOVABLE:
                sets.join(first.setdefault(name, place), place)
    parts: dict[int, tuple[list[GroupTimes], list[GroupTimes]]] = {}
    for place, group in enumerate(every):
        parts.setdefault(sets.find(place), ([], []))[place >= len(ours)].append(group)
    for mine, yours in parts.values():
        yield _Layer(one=mine, other=yours, one_rows=_rows(one, mine), other_rows=_rows(other, yours))


def _rows(profile: BackendProfile, groups: Iterable[GroupTimes]) -> list[RowTime]:
    names = {name for group in groups for name in group.nodes}
    return [row for row in profile.rows if any(node.name in names and not node.shared for node in row.nodes)]


def _slower(layer: _Layer, one: BackendProfile, other: BackendProfile) -> Iterator[Finding]:
    ms, before = _sum(layer.one, one.backend), _sum(layer.other, other.backend)
    if not layer.one or ms - before <= max(_LAYER_SHARE * before, _TOTAL_SHARE * one.median_ms):
        return
    label = layer_label(layer.one[0])
    nodes = [node for row in layer.one_rows for node in row.nodes]
    facts: dict[str, Any] = {
        "ms": ms - before,
        "nodes": tuple(dict.fromkeys(node.name for node in nodes if node.op not in MOVABLE)),
        "rows": tuple(row.name for row in layer.one_rows),
    }
    if not layer.other:
        yield Finding(
            rule="extra-layer",
            words=f"{label} takes {words.ms(ms)} ms and is no part of {other.variant}",
            advice="see what put it there: an export, a step or a rewrite of the model",
            **facts,
        )
        return
    yield Finding(
        rule="slower-layer",
        words=f"{label} takes {words.ms(ms)} ms, not {words.ms(before)} ms as there: {_ran(layer.one_rows)} here, "
        f"{_ran(layer.other_rows)} there",
        advice=_advice(layer, one, other),
        **facts,
    )


def _sum(groups: Iterable[GroupTimes], backend: str) -> float:
    return sum(group.ms[backend] for group in groups)


def _ran(rows: Sequence[RowTime]) -> str:
    """ "2 rows (Conv, Add; int8)"."""
    kinds = ", ".join(dict.fromkeys(row.kind for row in rows))
    precisions = ", ".join(dict.fromkeys(row.precision for row in rows if row.precision))
    return f"{words.plural(len(rows), 'row')} ({kinds}{f'; {precisions}' if precisions else ''})"


def _advice(layer: _Layer, one: BackendProfile, other: BackendProfile) -> str:
    ours, theirs = ({row.precision for row in rows if row.precision} for rows in (layer.one_rows, layer.other_rows))
    if ours and theirs and ours != theirs:
        return f"it executes in {words.listed(sorted(ours))} here and in {words.listed(sorted(theirs))} there"
    if len(layer.one_rows) > len(layer.other_rows):
        return "it runs as fewer kernels there: see which of them could be one here"
    if one.backend != other.backend:
        return f"{other.backend} has the better kernel for its shape"
    return "the same backend is slower at it: compare its inputs, its shape and its neighbours"


def _more(ours: Iterable[Finding], theirs: Iterable[Finding], other: BackendProfile) -> Iterator[Finding]:
    """Findings of what belongs to no layer, by how much more they are here."""
    there = {finding.rule: finding.ms for finding in theirs}
    for finding in ours:
        more = finding.ms - there.get(finding.rule, 0.0)
        if finding.rule == "computed-twice" and finding.rule not in there:
            yield finding
        elif finding.rule in _DIFFERED and more > _TOTAL_SHARE * other.median_ms:
            there_ms = words.ms(there.get(finding.rule, 0.0))
            yield finding.model_copy(update={"ms": more, "words": f"{finding.words}; {there_ms} ms there"})
