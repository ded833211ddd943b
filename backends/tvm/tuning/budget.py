"""How a budget of seconds or trials is spent: which task comes next, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .contract import Task
from .search import TaskSearch

__all__ = ["Budget", "Purse", "limit_of", "peak_flops"]

# Chunks without a gain of 1% halve what a task promises.
_GAIN = 0.99
_DECAY = 0.5

# Winograd's saving of multiplications, in the limit.
_SAVING = {"direct": 1.0, "wino2": 2.25, "wino4": 4.0}


@dataclass
class Budget:
    """Seconds or trials, whichever ends first; None is no bound."""

    seconds: float | None
    trials: int | None
    clock: Callable[[], float] = time.monotonic
    spent: int = 0
    underway: int = 0
    """Trials that have begun and are not spent yet."""
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was opened."""
        return self.clock() - self._start

    def left(self, *, keep_trials: int = 0, cost: float = 1.0) -> bool:
        """Whether another trial may begin while *keep_trials* are kept back.

        Each of these is taken to last *cost* times as long as trials did so far.
        """
        if self.trials is not None and self.spent + self.underway + keep_trials >= self.trials:
            return False
        each = self.elapsed_s / self.spent if self.spent else 0.0
        return self.seconds is None or self.elapsed_s + keep_trials * cost * each < self.seconds


def peak_flops(searches: Sequence[TaskSearch]) -> float:
    """The most floating-point operations a second that any direct kernel reached, a limit that this machine showed."""
    rates = [one.task.flops / one.best for one in searches if one.best and one.task.kind == "conv"]
    return max(rates, default=0.0)


def limit_of(task: Task, peak: float) -> float:
    """Seconds that *task* takes at least, at *peak* operations a second; 0 where nothing is known."""
    return task.flops / (peak * _SAVING[task.variant]) if peak else 0.0


class Purse:
    """Chooses the task whose next trials promise the most: weight x (time - limit), less where they gained nothing."""

    def __init__(self, searches: Sequence[TaskSearch]) -> None:
        self._promise = {one.task.hash: 1.0 for one in searches}

    def next(self, searches: Sequence[TaskSearch]) -> TaskSearch:
        """The task to try next of *searches*, all of which have a time."""
        peak = peak_flops(searches)
        rivals = _rivals(searches)
        return max(searches, key=lambda one: (self.worth(one, peak, rivals), one.task.hash))

    def worth(self, one: TaskSearch, peak: float, rivals: Mapping[tuple[str, str], float]) -> float:
        """Seconds of an inference that trials of *one* might save; a variant far behind its rival promises little."""
        if one.best is None:
            return 0.0
        winner = rivals.get((one.task.site, one.task.epilogue), one.best) if one.task.site else one.best
        gap = max(0.0, min(one.best, winner) - limit_of(one.task, peak))
        return one.task.weight * gap * (winner / one.best) ** 4 * self._promise[one.task.hash]

    def report(self, one: TaskSearch, before: float | None) -> None:
        """A chunk of trials of *one*, whose best time was *before*, is done."""
        gained = one.best is not None and (before is None or one.best < _GAIN * before)
        self._promise[one.task.hash] = 1.0 if gained else self._promise[one.task.hash] * _DECAY


def _rivals(searches: Sequence[TaskSearch]) -> dict[tuple[str, str], float]:
    """The best time of any variant by site and epilogue."""
    best: dict[tuple[str, str], float] = {}
    for one in searches:
        if one.task.site and one.best is not None:
            key = (one.task.site, one.task.epilogue)
            best[key] = min(one.best, best.get(key, one.best))
    return best
