"""Where the wall time of a run went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..reports.results import Phase

__all__ = ["PhaseClock"]


class PhaseClock:
    """Adds up wall time by phase. Phases do not nest; what none of them covers is "other"."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._spent: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside the block as *name*."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._spent[name] = self._spent.get(name, 0.0) + time.monotonic() - start

    def phases(self) -> tuple[Phase, ...]:
        """Seconds of each phase so far, "other" last; together they are the wall time since the start."""
        total = time.monotonic() - self._start
        other = max(0.0, total - sum(self._spent.values()))
        return tuple(Phase(name=name, seconds=seconds) for name, seconds in [*self._spent.items(), ("other", other)])
