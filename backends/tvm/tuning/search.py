"""The search within one task: first guesses, then steps along the axes of its grid from the best of them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice

from .contract import Task
from .tiles import Candidate, Grid

__all__ = ["TaskSearch", "key_of"]

# Values tried along one axis in one pass, and other tiles from one start.
_STEPS = 6
_PASSES = 3


def key_of(candidate: Candidate) -> str:
    """A candidate as text, the same whatever the order of its axes."""
    return json.dumps(candidate, sort_keys=True)


class TaskSearch:
    """Proposes candidates of one task and remembers what became of them; no candidate is proposed twice."""

    def __init__(self, task: Task, grid: Grid, *, seed: int, starts: int) -> None:
        self.task = task
        self.grid = grid
        self.times: dict[str, float | None] = {}
        self.candidates: dict[str, Candidate] = {}
        self.cold: dict[str, float] = {}
        self.underway: set[str] = set()
        self._rng = random.Random(f"{seed} {task.hash}")
        self._starts = starts
        self._walk: Iterator[Candidate] | None = None

    @property
    def best(self) -> float | None:
        """Least time so far, with weights in the caches."""
        return min((time for time in self.times.values() if time is not None), default=None)

    @property
    def judged(self) -> float | None:
        """The time that counts: cold where it was taken."""
        return min(self.cold.values(), default=None) or self.best

    def ranked(self) -> list[Candidate]:
        """Candidates that worked, fastest first."""
        worked = [(time, key) for key, time in self.times.items() if time is not None]
        return [self.candidates[key] for _, key in sorted(worked)]

    def tell(self, candidate: Candidate, seconds: float | None) -> None:
        """*candidate* took *seconds*, or failed (None)."""
        key = key_of(candidate)
        before = self.times.get(key)
        self.times[key] = seconds if before is None else min(before, seconds or before)
        self.candidates[key] = candidate

    def first(self, count: int, others: Sequence[Candidate] = ()) -> Candidate | None:
        """The next of the first *count* guesses, led by *others* (best ones of like tasks) where they fit this grid."""
        guesses = [*(other for other in others if self.grid.holds(other)), *self.grid.first]
        return next((guess for guess in guesses[:count] if not self._known(guess)), None)

    def refine(self) -> Candidate | None:
        """The next step from the best candidates so far; None where no axis improves any of them any more."""
        if self._walk is None:
            self._walk = self._steps()
        for candidate in self._walk:
            if not self._known(candidate):
                return candidate
        return None

    def draw(self) -> Candidate | None:
        """A random candidate that was not tried; None where it finds none."""
        for _ in range(32):
            candidate = self.grid.sample(self._rng)
            if candidate is not None and not self._known(candidate):
                return candidate
        return None

    def _known(self, candidate: Candidate) -> bool:
        """Whether it was tried, or is just being tried."""
        key = key_of(candidate)
        return key in self.times or key in self.underway

    def _steps(self) -> Iterator[Candidate]:
        """Walk along the axes from each start in turn, following whatever is faster."""
        for start in self._distinct():
            place = start
            for _ in range(_PASSES):
                before = key_of(place)
                for axis in self.grid.axes:
                    for candidate in islice(self._near(place, axis), _STEPS):
                        yield candidate
                        if self._time(candidate) < self._time(place):
                            place = candidate
                if key_of(place) == before:
                    break

    def _near(self, place: Candidate, axis: str) -> Iterator[Candidate]:
        """Changes along *axis* that were not tried, those to the nearest values first."""
        values = list(self.grid.axes[axis])
        at = values.index(place[axis])
        fresh = [one for one in self.grid.along(place, axis) if key_of(one) not in self.times]
        yield from sorted(fresh, key=lambda one: abs(values.index(one[axis]) - at))

    def _distinct(self) -> list[Candidate]:
        """The best candidates, no two with the same first axis (the tile)."""
        axis = next(iter(self.grid.axes))
        starts: list[Candidate] = []
        for candidate in self.ranked():
            if all(candidate[axis] != other[axis] for other in starts):
                starts.append(candidate)
        return starts[: self._starts]

    def _time(self, candidate: Candidate) -> float:
        return self.times.get(key_of(candidate)) or float("inf")
