"""torch's profiler on the code that Inductor generates: one event for each call of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..models.errors import StageError
from .base import Array, LoadRequest
from .inductor import InductorSession
from .inductor_calls import read_calls
from .inductor_compile import PACKAGE
from .inductor_nodes import load_nodes
from .inductor_rows import describe_rows
from .profile import Row
from .profile_graph import read_profiled_graph

__all__ = ["InductorProfile", "split_events"]

_MOST_INFERENCES = 50
"""So many are kept by torch's profiler before they are read, which takes longer than the inferences did."""

_WARM_UP = 3
"""Inferences after that before one that counts."""


class InductorProfile(InductorSession):
    """A session under torch's profiler. Every few inferences that count, outside of them, what it kept is read."""

    def __init__(self, request: LoadRequest, model: Path) -> None:
        super().__init__(request)
        self._artifact = request.artifact
        self._model = model
        try:
            self._calls = read_calls(request.artifact / PACKAGE)
        except ValueError as error:
            raise _failed(str(error)) from error
        self._times_ms: list[list[float]] = []
        self._feeds: Sequence[Array] = ()
        self._start()

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once."""
        self._feeds = feeds
        self._inferences += 1
        return super().infer(feeds)

    def collect(self) -> None:
        """Remember that the last inference counts."""
        self._kept.append(self._inferences - 1)
        if self._inferences >= _MOST_INFERENCES:
            self._read()
            self._start()
            for _ in range(_WARM_UP):
                self.infer(self._feeds)

    def rows(self) -> tuple[Row, ...]:
        """The calls, in order of execution."""
        self._read()
        times = list(zip(*self._times_ms, strict=True))
        return describe_rows(self._calls, times, load_nodes(self._artifact), read_profiled_graph(self._model))

    def _start(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        self._inferences = 0
        self._kept: list[int] = []
        """Which of the inferences count."""
        self._profiler: Any = profile(activities=[ProfilerActivity.CPU])
        self._profiler.start()

    def _read(self) -> None:
        """Add the times of the inferences that count."""
        self._profiler.stop()
        wanted = [call.event for call in self._calls]
        names = set(wanted)
        found = [(event.name, event.time_range) for event in self._profiler.events() if event.name in names]
        found.sort(key=lambda event: float(event[1].start))
        events, end = [], 0.0
        for name, times in found:
            if times.start >= end:  # an operator may call another one that is called by itself elsewhere
                events.append((name, (times.end - times.start) / 1e3))
                end = times.end
        try:
            inferences = split_events(events, wanted, self._inferences)
        except ValueError as error:
            raise _failed(str(error)) from error
        self._times_ms += [inferences[place] for place in self._kept]


def split_events(events: Sequence[tuple[str, float]], wanted: Sequence[str], inferences: int) -> list[list[float]]:
    """Milliseconds of the *wanted* events in each of so many *inferences*, from (name, milliseconds) in order.

    Raises ValueError where they are others.
    """
    if len(events) != len(wanted) * inferences:
        raise ValueError(f"{len(events)} events in {inferences} inferences of {len(wanted)} calls")
    found = []
    for inference in range(inferences):
        part = events[inference * len(wanted) : (inference + 1) * len(wanted)]
        for (name, _), expected in zip(part, wanted, strict=True):
            if name != expected:
                raise ValueError(f"{name} ran where the code calls {expected}")
        found.append([ms for _, ms in part])
    return found


def _failed(reason: str) -> StageError:
    return StageError(f"Inductor's profile cannot be read: {reason}", blame="runtime", stage="profile")
