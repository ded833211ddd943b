"""What this machine's limits tell: how much of the time of single layers could be saved, without saying how."""

from __future__ import annotations

from collections.abc import Iterator

from ...reports import words
from ...reports.layer_words import main_node
from ...reports.profiles import BackendProfile, Finding, RowTime
from .findings import cost, finding, repeated

__all__ = ["far", "memory_bound", "small"]

_AT_THE_ROOF = 0.5
"""From this efficiency on a row is held to be bound by what its roof says."""
_FAR = 0.3
"""Below this one it is far from it."""
_SMALL_MS = 0.005
"""Rows that a machine could do in less than this: calling a kernel costs some microseconds by itself."""
_WORTH = 0.005
"""A layer is worth a finding of its own from this part of an inference on."""


def memory_bound(profile: BackendProfile) -> Iterator[Finding]:
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
        yield finding(
            "memory-bound",
            rows,
            f"bound by memory ({levels}): {cost(profile, rows)}; moving their {words.size(moved)} takes at least "
            f"{words.ms(limit)} ms here ({words.percent(limit / took)})",
            "faster arithmetic gains nothing there: move less (int8, fewer channels, a smaller input), or fuse them "
            "with their neighbours",
            ms=max(0.0, took - limit),
        )


def small(profile: BackendProfile) -> Iterator[Finding]:
    """Layers with so little to do that calling their kernels is most of it."""
    rows = [row for row in profile.rows if _is_far(row) and (row.limit_ms or 0.0) < _SMALL_MS]
    if rows:
        limit, took = sum(row.limit_ms or 0.0 for row in rows), sum(row.median_ms for row in rows)
        yield finding(
            "small-layers",
            rows,
            f"small layers, bound by the cost of calling them: {cost(profile, rows)}, "
            f"{words.ms(1e3 * took / len(rows))} µs each; their work takes this machine {words.ms(limit)} ms",
            "a larger batch, fewer threads, or a runtime that fuses more spends less on them",
            ms=took - limit,
        )


def far(profile: BackendProfile) -> Iterator[Finding]:
    """Layers that take several times as long as this machine needs for them; each is a finding of its own."""
    for row in profile.rows:
        node, saved = main_node(row), row.median_ms - _reachable_ms(row)
        if (
            node is not None
            and _is_far(row)
            and (row.limit_ms or 0.0) >= _SMALL_MS
            and saved >= _WORTH * profile.median_ms
        ):
            yield finding(
                "far-from-limit",
                [row],
                f"{node.name} ({node.op}) is far from this machine's limit: {cost(profile, [row])}, where "
                f"{words.ms(_reachable_ms(row))} ms could do",
                "look whether another backend has a better kernel for its shape (`--against`); tuned schedules "
                "(`bakeoff tune`) may, too",
                ms=saved,
            )


def _is_far(row: RowTime) -> bool:
    """Whether *row* is worth a better kernel; what only computes something again is worth none at all."""
    return row.roof is not None and not repeated(row) and _reachable_ms(row) < _FAR * row.median_ms


def _reachable_ms(row: RowTime) -> float:
    """The limit of *row* by the textbook's algorithm: that a kernel does without Winograd's is no fault of it."""
    return max(row.roof.direct_ms, row.roof.memory_ms) if row.roof is not None else 0.0
