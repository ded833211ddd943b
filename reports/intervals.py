"""Intervals of positive figures, their ratios, and when two figures count as the same.

The ratio of two figures is bounded conservatively: [a.low / b.high, a.high / b.low]. It is wider than the two
intervals' confidence calls for, so a lead that survives it is a lead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .results import Cell

__all__ = ["Interval", "interval_of", "ratio", "usable"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A closed interval of a positive figure, in the figure's own unit."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether *value* lies inside."""
        return self.low <= value <= self.high

    def widened(self, floor: float) -> Interval:
        """Wider by *floor* on both sides; *floor* bounds |log ratio|, so 0.01 stands for 1%."""
        return Interval(low=self.low * math.exp(-floor), high=self.high * math.exp(floor))


def ratio(a: Interval, b: Interval) -> Interval:
    """Conservative bounds of a / b; both intervals lie above zero."""
    return Interval(
        low=a.low / b.high,
        high=a.high / b.low,
    )


def usable(value: float | None) -> bool:
    """Whether *value* is a figure: positive and finite. Results come from anywhere."""
    return value is not None and math.isfinite(value) and value > 0


def interval_of(cell: Cell) -> Interval | None:
    """The interval of the median in milliseconds, None if there is none or it makes no sense."""
    low, high = cell.ci_low_ms, cell.ci_high_ms
    if low is None or high is None or not (usable(low) and usable(high)) or low > high:
        return None
    return Interval(low=low, high=high)
