"""Intervals of positive figures, their ratios, and when two figures count as the same.

The ratio of two figures is bounded conservatively: [a.low / b.high, a.high / b.low]. It is wider than the two
intervals' confidence calls for, so a lead that survives it is a lead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Interval", "ratio"]


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
    """Conservative bounds of a / b. An interval that touches zero leaves the ratio open upwards."""
    return Interval(
        low=a.low / b.high if b.high > 0 else math.inf,
        high=a.high / b.low if b.low > 0 else math.inf,
    )
