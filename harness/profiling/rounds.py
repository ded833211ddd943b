"""Profiles cells that will be compared side by side: all pairs alive together, asked for short blocks in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...models.errors import CellError
from ..energy import EnergyMeter
from ..process import Worker
from ..suite import Measure
from ..watch import Watch
from .pair import Pair, PairSeat, Taken

__all__ = ["Rounds"]

ROOM_FACTOR = 1.5
"""A further pair is loaded only while this many times the largest one's memory is still available."""


@dataclass(kw_only=True)
class Rounds:
    """One part of a comparison: as many cells as memory holds at once."""

    measure: Measure
    watch: Watch
    meter: EnergyMeter
    scratch: Path
    """Folder for the workers' stderr."""
    tick: Callable[[str], None]
    taken: dict[str, Taken] = field(default_factory=dict)
    """By the cell's key."""
    failed: dict[str, CellError] = field(default_factory=dict)
    _workers: list[Worker] = field(default_factory=list)
    _largest_bytes: int = 0

    def run(self, seats: Sequence[PairSeat]) -> Sequence[PairSeat]:
        """Profile the cells of *seats*; return those that found no room in memory, for another part."""
        try:
            pairs, left = self._load(seats)
            while pairs:
                pairs = [pair for pair in pairs if self._round(pair)][::-1]
            return left
        finally:
            for worker in self._workers:
                worker.kill()

    def _load(self, seats: Sequence[PairSeat]) -> tuple[list[Pair], Sequence[PairSeat]]:
        pairs: list[Pair] = []
        for place, seat in enumerate(seats):
            if pairs and not self.watch.has_room(ROOM_FACTOR * self._largest_bytes):
                return pairs, seats[place:]
            cell, before = seat.plain.cell, len(self._workers)
            self.tick(f"load {cell.full_variant} {cell.backend}, with and without its profiler")
            try:
                pair = Pair.load(seat, self.measure, self.scratch, self._workers)
            except CellError as error:
                for worker in self._workers[before:]:
                    worker.kill()
                self.failed[cell.key] = error
                continue
            pairs.append(pair)
            used = sum(one.worker.rss_bytes() for one in (pair.plain, pair.profiled))
            self._largest_bytes = max(self._largest_bytes, used)
        return pairs, ()

    def _round(self, pair: Pair) -> bool:
        """One block of both; whether *pair* goes on."""
        cell = pair.plain.cell
        self.tick(f"profile {cell.full_variant} {cell.backend}, t{cell.threads}")
        try:
            for one in pair.cells():
                with self.watch.block(id(pair)) as tally:
                    before = self.meter.read()
                    tally(one.take_block())
                    if one is pair.plain and before:
                        pair.spend(self.meter.joules(before, self.meter.read()))
            if not pair.done():
                return True
            taken = pair.finish()
        except CellError as error:
            pair.kill()
            self.failed[cell.key] = error
            return False
        self.taken[cell.key] = replace(taken, suspicious=tuple(self.watch.reasons(id(pair))))
        return False
