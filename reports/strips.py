"""Small interval drawings for table rows: where a cell lies between the fastest and the slowest comparable one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .views import CellView

__all__ = ["HEIGHT", "WIDTH", "Span", "Stroke", "span", "stroke"]

WIDTH = 168
HEIGHT = 18
_PAD = 6
_ARROW = 14
"""Pixels at the right edge that only arrows use."""
_OFF_SCALE = 3.0
"""A median more than this many times the fastest is drawn as an arrow at the right edge."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """The stretch of milliseconds that the rows of one table share."""

    low: float
    high: float

    def x(self, value: float) -> float:
        """Pixel of *value*, kept inside the drawing."""
        if self.high <= self.low:
            return WIDTH / 2
        share = (value - self.low) / (self.high - self.low)
        return round(_PAD + min(1.0, max(0.0, share)) * (WIDTH - 2 * _PAD - _ARROW), 1)


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """One cell in pixels: the median at *x*, its interval from *low* over *width*; *off*: beyond the right edge."""

    x: float
    low: float
    width: float
    off: bool


def span(views: Sequence[CellView]) -> Span:
    """The stretch from the fastest to the slowest comparable cell of *views*, intervals included."""
    if not views:
        return Span(low=0.0, high=0.0)
    fastest = min(view.median_ms for view in views)
    near = [view for view in views if view.median_ms <= _OFF_SCALE * fastest]
    lows = [view.interval.low if view.interval else view.median_ms for view in near]
    highs = [view.interval.high if view.interval else view.median_ms for view in near]
    return Span(low=min(lows), high=max(highs))


def stroke(view: CellView, shared: Span) -> Stroke:
    """Where *view* is drawn within *shared*."""
    if view.median_ms > shared.high:
        return Stroke(x=WIDTH - _PAD, low=WIDTH - _PAD, width=0.0, off=True)
    low = shared.x(view.interval.low if view.interval else view.median_ms)
    high = shared.x(view.interval.high if view.interval else view.median_ms)
    return Stroke(x=shared.x(view.median_ms), low=low, width=round(max(0.0, high - low), 1), off=False)
