"""Medians with distribution-free intervals, percentiles, and the noise floor of an A/A pair.

Samples come in blocks: calls that followed each other while every other worker was stopped. Calls of one block share
the machine's state at that moment, so they are not independent, and intervals are built over blocks, never over
single calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "Summary", "aa_floor", "median_interval", "order_ranks", "summarize"]

CONFIDENCE = 0.95
"""Coverage that is promised of every interval."""

SEQUENTIAL = 0.97
"""Coverage that a cell's interval is built for: stopping as soon as it is narrow costs up to two points of it."""

Samples = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """*low* and *high* enclose the median with the coverage *confidence* (0..1)."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is said of one cell's latency; all in the unit of the samples."""

    median: float
    interval: Interval
    mean: float
    minimum: float
    p90: float
    p95: float
    p99: float | None
    """None below 100 samples: it would be no more than the maximum."""
    count: int


@cache
def order_ranks(count: int, confidence: float = CONFIDENCE) -> tuple[int, int, float]:
    """0-based ranks (low, high) of the order statistics that enclose the median, and their exact coverage.

    The number of independent draws below the median is Binomial(count, 1/2), whatever the distribution, so the
    coverage of (x[k], x[count-1-k]) is 1 - 2 P(B <= k). The narrowest pair that reaches *confidence* is taken; with
    fewer than six draws none does, and the extremes come back with the coverage that they have.
    Source: Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2.
    """
    if count < 1:
        raise ValueError("an interval needs at least one draw")
    total = 2**count
    tail = term = 1  # of the binomial distribution, times *total*: beyond 1,000 draws floats would run out of range
    best = (0, count - 1, 1.0 - 2 * tail / total)
    for k in range(1, (count + 1) // 2):
        term = term * (count - k + 1) // k
        tail += term
        coverage = 1.0 - 2 * tail / total
        if coverage < confidence:
            break
        best = (k, count - 1 - k, coverage)
    return best


def median_interval(draws: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Distribution-free interval of the median of independent *draws*."""
    ordered = sorted(draws)
    low, high, coverage = order_ranks(len(ordered), confidence)
    return Interval(low=ordered[low], high=ordered[high], confidence=coverage)


def summarize(blocks: Sequence[Samples]) -> Summary:
    """Summary over all samples of *blocks*; none is left out.

    The median is the median over blocks: the median of the blocks' medians, which is what its interval is about. Mean
    and percentiles are those of all samples.
    """
    samples = np.concatenate([np.asarray(block, dtype=np.float64) for block in blocks])
    medians = [float(np.median(block)) for block in blocks]
    p90, p95, p99 = (float(value) for value in np.percentile(samples, [90, 95, 99]))
    return Summary(
        median=float(np.median(medians)),
        interval=median_interval(medians, SEQUENTIAL),
        mean=float(samples.mean()),
        minimum=float(samples.min()),
        p90=p90,
        p95=p95,
        p99=p99 if samples.size >= 100 else None,
        count=int(samples.size),
    )


def aa_floor(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float | None:
    """Noise floor told by two measurements of the same cell, block *i* of one beside block *i* of the other.

    The larger end, in absolute value, of the interval of the median of log(second/first) over rounds: a difference
    below it, as a fraction, cannot be told from none. None without a common round.
    """
    rounds = min(len(first), len(second))
    if rounds == 0:
        return None
    logs = [math.log(float(np.median(second[i])) / float(np.median(first[i]))) for i in range(rounds)]
    interval = median_interval(logs)
    return max(abs(interval.low), abs(interval.high))
