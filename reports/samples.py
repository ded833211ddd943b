"""All samples of a comparison as cumulative curves: exact in the statistics, thinned only for drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from . import words
from .views import CellView

__all__ = ["MAX_POINTS", "Curve", "Curves", "curves", "thinned"]

MAX_POINTS = 160
"""Points drawn of one curve; the extremes and the tail are always among them."""

_OFF_SCALE = 5.0
"""Cells whose median is more than this many times the fastest would squeeze the others and are named instead."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The cumulative distribution of one cell's samples."""

    view: CellView
    points: tuple[tuple[float, float], ...]
    """(milliseconds, share of samples at or below), rising."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All curves of one comparison, and the stretch of the axis that they share."""

    curves: tuple[Curve, ...]
    low: float
    """Milliseconds at the left edge."""
    high: float
    notes: tuple[str, ...]
    """What the drawing leaves out, in sentences."""


def thinned(values: Sequence[float], limit: int = MAX_POINTS) -> tuple[tuple[float, float], ...]:
    """The cumulative curve of *values* through at most *limit* of its own points.

    A fifth of the points is kept for the slowest twentieth of the samples, where the curve is flat and matters most.
    """
    ordered = sorted(values)
    count = len(ordered)
    if count <= limit:
        places = list(range(count))
    else:
        tail_from = int(count * 0.95)
        body = limit * 4 // 5
        tail = limit - body
        places = [round(i * (tail_from - 1) / (body - 1)) for i in range(body)]
        places += [tail_from + round(i * (count - 1 - tail_from) / (tail - 1)) for i in range(tail)]
    return tuple((round(ordered[place], 4), round((place + 1) / count, 5)) for place in dict.fromkeys(places))


def _samples(view: CellView) -> list[float]:
    return [value for block in view.cell.blocks_ms for value in block if math.isfinite(value)]


def curves(measured: Sequence[CellView]) -> Curves:
    """Curves of the cells that share a scale.

    A cell off the scale is named in a note; so are samples beyond the right edge, which lies just past the slowest
    p99. Statistics elsewhere use all samples.
    """
    kept = [view for view in measured if _samples(view)]
    if not kept:
        return Curves(curves=(), low=0.0, high=1.0, notes=())
    fastest = min(view.median_ms for view in kept)
    near = [view for view in kept if view.median_ms <= _OFF_SCALE * fastest]
    far = [view for view in kept if view.median_ms > _OFF_SCALE * fastest]
    values = {view.cell.key: _samples(view) for view in near}
    low = min(min(found) for found in values.values())
    high = max(min(max(found), 1.1 * _p99(found)) for found in values.values())
    pad = 0.03 * (high - low) or 0.05 * high
    return Curves(
        curves=tuple(Curve(view=view, points=thinned(values[view.cell.key])) for view in near),
        low=max(0.0, low - pad),
        high=high + pad,
        notes=(*_far_notes(far), *_beyond_notes(near, values, high + pad), *_thinned_notes(values)),
    )


def _p99(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def _far_notes(far: Sequence[CellView]) -> list[str]:
    return [f"Off this scale: {view.marked_label}, median {words.ms(view.median_ms)} ms." for view in far]


def _beyond_notes(near: Sequence[CellView], values: dict[str, list[float]], edge: float) -> list[str]:
    notes = []
    for view in near:
        beyond = [value for value in values[view.cell.key] if value > edge]
        if beyond:
            count = words.plural(len(beyond), "sample")
            notes.append(f"{view.label}: {count} beyond the right edge, the slowest {words.ms(max(beyond))} ms.")
    return notes


def _thinned_notes(values: dict[str, list[float]]) -> list[str]:
    most = max(len(found) for found in values.values())
    if most <= MAX_POINTS:
        return []
    return [f"Curves are drawn through {MAX_POINTS} of up to {most:,} samples; all figures use every sample."]
