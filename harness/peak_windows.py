"""Rates of short windows of time, from when processes were done with each piece of their work.

What cores of a virtual machine get is shared with others that nobody here sees: the other half of a physical core, the
last cache, memory. Moments in which all is ours are short. So each process works for some milliseconds at a time, notes
when each call of a tenth of a millisecond or two ended, and the best quarter of a millisecond in it counts.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..reports.peak_figures import percent_apart

__all__ = ["WINDOW_S", "Series", "Visit", "fastest", "reached"]

Value = TypeVar("Value")

WINDOW_S = 0.00025
"""Long beside a call and the clock's own time, and as long as a layer of a model takes."""

HINDERED_BELOW = 0.7
"""Cores that reach less than this part of the sum of their own rates within the same windows hinder each other."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What one process did from one request on."""

    amount: float
    """Units of work of one call."""
    ends_s: NDArray[np.float64]
    """When work began and when each call ended, by the system-wide clock: shape (calls + 1,)."""

    def done(self, moments_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Units done by each of *moments_s*; calls go on evenly."""
        done: NDArray[np.float64] = np.interp(moments_s, self.ends_s, self.amount * np.arange(len(self.ends_s)))
        return done


def fastest(visits: Sequence[Visit], window_s: float = WINDOW_S) -> float:
    """Units a second that *visits* reach together in their best window, all of them at work throughout.

    Where they share less time than *window_s*, that is the window; 0.0 where they share none.
    """
    begin = max(visit.ends_s[0] for visit in visits)
    end = min(visit.ends_s[-1] for visit in visits)
    width = min(window_s, end - begin)
    if width <= 0:
        return 0.0
    ends = np.concatenate([visit.ends_s for visit in visits])
    # Rates are constant between the ends of calls, so a window is best where it begins or ends at one.
    starts = np.clip(np.concatenate([ends, ends - width, [begin]]), begin, end - width)
    done = sum(visit.done(starts + width) - visit.done(starts) for visit in visits)
    return float(np.max(done)) / float(width)


def reached(rates: Sequence[float]) -> float:
    """The second best of *rates*: what a rate has to be seen at twice, at different times, to count; 0.0 for none."""
    return heapq.nlargest(2, rates)[-1] if rates else 0.0


@dataclass(frozen=True, kw_only=True)
class Series:
    """Best windows of one kind of work, visit by visit."""

    single: list[float] = field(default_factory=list)
    """Of one core, alone or beside others."""
    common: list[float] = field(default_factory=list)
    """Of all cores together, within the same windows."""
    own: list[list[float]] = field(default_factory=list)
    """Of each core, while all work: a list for each visit."""
    apart: bool = False
    """Whether it may be that cores do not hinder each other in this: never where they go to memory."""

    def add(self, visits: Sequence[Visit]) -> None:
        """Take in one visit of each process that worked."""
        each = [fastest([visit]) for visit in visits]
        self.single.extend(each)
        if len(visits) > 1:
            self.common.append(fastest(visits))
            self.own.append(each)

    def half(self, which: int) -> Series:
        """The first (0) or the second (1) half of the visits."""

        def cut(values: list[Value]) -> list[Value]:
            middle = len(values) // 2
            return values[middle:] if which else values[:middle]

        return Series(single=cut(self.single), common=cut(self.common), own=cut(self.own), apart=self.apart)

    def rates(self) -> tuple[float, float]:
        """What one core reaches, and all together.

        Cores that do not hinder each other need not have their best moments at the same time, so their own count,
        those while the others work. Whether they do not is not known beforehand: a virtual machine may show two halves
        of one core as two, and a cache may have less for many cores than for each. One half is fast while the other is
        held up, and both never are. So if what they reach within the same windows is far from their sum, that counts.
        """
        one = reached(self.single)
        if not self.common:
            return one, one
        together = reached(self.common)
        total = sum(reached(rates) for rates in zip(*self.own, strict=True))
        return one, total if self.apart and together >= HINDERED_BELOW * total else max(together, one)

    def settled(self, percent: float) -> bool:
        """Whether the halves of the visits tell the same within *percent*."""
        pairs = zip(self.half(0).rates(), self.half(1).rates(), strict=True)
        return all(percent_apart(*pair) <= percent for pair in pairs)
