"""What a worker does while it holds the clock. Nothing here knows of any backend.

The clock's boundary: from the input arrays in host memory to the output arrays in host memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Array

__all__ = ["Block", "Infer", "Rotation", "WarmUp", "run_block", "warm_up"]

Infer = Callable[[Sequence[Array]], Sequence[Array]]


@dataclass
class Rotation:
    """Different inputs, taken in turn across blocks: the same tensor again and again would measure the caches."""

    feeds: list[tuple[Array, ...]]
    position: int = 0

    def take(self) -> int:
        """Index of the next input."""
        index = self.position
        self.position = (index + 1) % len(self.feeds)
        return index


@dataclass(frozen=True, kw_only=True)
class Block:
    """Samples of calls that followed each other, and outputs kept from among them."""

    times_ns: list[int]
    kept: list[tuple[int, list[Array]]] = field(default_factory=list)
    """(index of the input, copies of the outputs) of the calls chosen for the check."""


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """How warm-up went."""

    calls: int
    steady: bool
    median_ns: float
    """Median of its last window."""


def run_block(infer: Infer, rotation: Rotation, calls: int, keep: frozenset[int]) -> Block:
    """Time *calls* calls one by one; copy the outputs of those whose place in the block is in *keep*.

    The copies are made between two calls, outside the clock.
    """
    clock = time.perf_counter_ns
    feeds = rotation.feeds
    times: list[int] = []
    kept: list[tuple[int, list[Array]]] = []
    for place in range(calls):
        index = rotation.take()
        feed = feeds[index]
        start = clock()
        outputs = infer(feed)
        end = clock()
        times.append(end - start)
        if place in keep:
            kept.append((index, [np.array(output, copy=True) for output in outputs]))
    return Block(times_ns=times, kept=kept)


def warm_up(infer: Infer, rotation: Rotation, *, window: int, tolerance: float, cap_s: float) -> WarmUp:
    """Call until the latency has stopped falling, or until *cap_s* seconds have passed.

    It is steady when the median of the last *window* calls is no more than *tolerance* (a fraction) below the median
    of the window before it, and their minima agree likewise. At least two calls are made whatever they take.
    """
    times: list[int] = []
    deadline = time.perf_counter() + cap_s
    while True:
        times.extend(run_block(infer, rotation, 1, frozenset()).times_ns)
        late = time.perf_counter() >= deadline
        if len(times) >= 2 * window and len(times) % window == 0 and _steady(times, window, tolerance):
            return WarmUp(calls=len(times), steady=True, median_ns=float(np.median(times[-window:])))
        if late and len(times) >= 2:
            return WarmUp(calls=len(times), steady=False, median_ns=float(np.median(times[-window:])))


def _steady(times: list[int], window: int, tolerance: float) -> bool:
    last: NDArray[np.int64] = np.asarray(times[-window:], dtype=np.int64)
    before: NDArray[np.int64] = np.asarray(times[-2 * window : -window], dtype=np.int64)
    floor = 1.0 - tolerance
    return bool(np.median(last) >= floor * np.median(before) and last.min() >= floor * before.min())
