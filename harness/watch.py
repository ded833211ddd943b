"""Keeps watch over the machine while one group is measured, and says what was suspicious about each cell."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from ..reports.results import MachineState
from .cgroup import own_cgroup
from .machine import Counters, count, judge, judge_state, snapshot, subtract
from .processes import ProcessScan, busy_processes, scan_processes
from .protocol import Message

__all__ = ["Watch"]

_NOTHING = Counters(busy_s=0.0, steal_s=0.0, throttled_periods=0, oom_kills=0)


@dataclass(kw_only=True)
class _Tally:
    """What was counted on the whole machine during one cell's blocks."""

    grown: Counters = _NOTHING
    own_cpu_s: float = 0.0
    wall_s: float = 0.0


@dataclass(kw_only=True)
class Watch:
    """Counts, around every block, what the machine did besides the cell that was measured in it."""

    cores: Sequence[int]
    standing: tuple[str, ...] = ()
    """Reasons that hold for every cell of this sitting."""
    _tallies: dict[int, _Tally] = field(default_factory=dict)
    _start: Counters = field(init=False)
    _scan: ProcessScan = field(default_factory=scan_processes)

    def __post_init__(self) -> None:
        self._start = count(self.cores)

    def has_room(self, needed_bytes: float) -> bool:
        """Whether *needed_bytes* of memory are still available, to the machine and to our control group."""
        available = int(psutil.virtual_memory().available)
        headroom = own_cgroup().memory_headroom()
        return needed_bytes <= (available if headroom is None else min(available, headroom))

    @contextmanager
    def block(self, cell: int) -> Iterator[Callable[[Message], None]]:
        """Count around one block of the cell known as *cell*; call what it yields with the worker's answer."""
        before, own, start = count(self.cores), time.process_time(), time.monotonic()

        def add(answer: Message) -> None:
            wall_s = time.monotonic() - start
            grown = subtract(count(self.cores), before)
            tally = self._tallies.setdefault(cell, _Tally())
            tally.grown = _sum(tally.grown, grown)
            tally.own_cpu_s += answer["cpu_s"] + time.process_time() - own
            tally.wall_s += wall_s

        yield add

    def reasons(self, cell: int) -> list[str]:
        """What makes the figure of *cell* suspicious; nothing if all was quiet."""
        tally = self._tallies.get(cell)
        if tally is None:
            return list(self.standing)
        found = judge(_NOTHING, tally.grown, tally.own_cpu_s, tally.wall_s, len(self.cores))
        busy = self._busy() if found else ()
        # Our own work raises the load average; clock and temperature are nobody's but the machine's.
        now = snapshot(self.cores).model_copy(update={"load_1m": None})
        hot = [reason for reason in judge_state(now, len(self.cores)) if reason not in self.standing]
        return [*self.standing, *found, *hot, *(f"busy beside it: {process}" for process in busy)]

    def state(self) -> MachineState:
        """The machine now, with who else was busy since the group began."""
        return snapshot(self.cores, since=self._start, busy_processes=self._busy())

    def _busy(self) -> tuple[str, ...]:
        return busy_processes(self._scan, scan_processes(), (os.getpid(),))


def _sum(first: Counters, second: Counters) -> Counters:
    return Counters(
        busy_s=first.busy_s + second.busy_s,
        steal_s=first.steal_s + second.steal_s,
        throttled_periods=(first.throttled_periods or 0) + (second.throttled_periods or 0),
        oom_kills=(first.oom_kills or 0) + (second.oom_kills or 0),
    )
