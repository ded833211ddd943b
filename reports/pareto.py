"""The Pareto front of latency against quality: which cells no other cell beats.

A cell *dominates* another if it is at least as good in both by the point estimates and better beyond noise in one:
faster although both intervals and the noise floor are allowed for, or of higher quality with intervals that do not
overlap. What only noise sets apart stays on the front together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .intervals import ratio
from .views import CellView

__all__ = ["Point", "dominates", "front", "staircase"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One cell as latency and quality."""

    view: CellView
    quality: float
    """More is better: a share of one, or dB."""
    low: float
    """Lower end of its interval; the value itself where there is none."""
    high: float


def _faster(a: Point, b: Point, floor: float) -> bool:
    if a.view.interval is None or b.view.interval is None:
        return False
    return ratio(a.view.interval, b.view.interval).widened(floor).high < 1.0


def dominates(a: Point, b: Point, floor: float) -> bool:
    """Whether *a* makes *b* pointless; *floor* is the noise floor of latencies (bound of |log ratio|)."""
    if a.quality < b.quality or a.view.median_ms > b.view.median_ms:
        return False
    return _faster(a, b, floor) or a.low > b.high


def front(points: Sequence[Point], floor: float) -> tuple[Point, ...]:
    """Those of *points* that none dominates, fastest first; a cell without an interval of its latency is not ranked."""
    ranked = [point for point in points if point.view.interval is not None]
    kept = [point for point in ranked if not any(dominates(other, point, floor) for other in ranked)]
    return tuple(sorted(kept, key=lambda point: point.view.median_ms))


def staircase(points: Sequence[Point]) -> tuple[tuple[float, float], ...]:
    """(milliseconds, best quality that can be had in at most so long) at each step of the front *points*."""
    steps: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: point.view.median_ms):
        if not steps or point.quality > steps[-1][1]:
            steps.append((point.view.median_ms, point.quality))
    return tuple(steps)
