"""Measures one group: cells that will be compared, alive together, asked for short blocks in turn.

Whatever the machine does meanwhile hits all of them alike. Whoever does not measure is stopped. One cell is measured
twice under two names (the A/A control): what the two differ by is the group's noise floor. Where memory does not hold
a group, its later parts measure the baseline once more, beside their own cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..models.errors import CellError
from ..reports.results import Accuracy, BaselineFigure, Cell, Control, Fidelity
from .live import LiveCell, Prepared, load_cell
from .phases import PhaseClock
from .process import Worker, WorkerSettings
from .protocol import Message
from .record import failed_cell, measured_cell
from .stats import aa_floor
from .suite import Measure
from .watch import Watch

__all__ = ["Group", "GroupPlan", "Seat"]

ROOM_FACTOR = 1.5
"""A further worker is started only while this many times the largest worker's memory is still available."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One cell of a group, ready to be loaded."""

    prepared: Prepared
    settings: WorkerSettings
    time_limit_s: float
    baseline: bool
    anchor: bool = False
    """Measured in an earlier part of the group, and now once more: only so that speed-ups refer to their own part."""


@dataclass(frozen=True, kw_only=True)
class GroupPlan:
    """A group and how it is to be measured."""

    name: str
    seats: Sequence[Seat]
    measure: Measure
    cores: tuple[int, ...]
    sitting: int
    scratch: Path
    """Folder for the workers' stderr."""


@dataclass(kw_only=True)
class Group:
    """One group being measured. `finished` is called with each cell as soon as it is done, before anything else."""

    plan: GroupPlan
    watch: Watch
    clock: PhaseClock
    finished: Callable[[Cell, CellError | None], None]
    controlled: Callable[[Control], None]
    tick: Callable[[str], None]
    """Called with words on what is being done, for the progress display."""
    _workers: list[Worker] = field(default_factory=list)
    _anchor: LiveCell | None = None
    _largest_bytes: int = 0

    def run(self) -> Sequence[Seat]:
        """Measure every cell; return the seats that found no room in memory, for another group."""
        try:
            with self.clock.phase("load and warm up"):
                live, left = self._load()
            with self.clock.phase("measure"):
                self._sample(live)
            return left
        finally:
            for worker in self._workers:
                worker.kill()

    def _load(self) -> tuple[list[LiveCell], Sequence[Seat]]:
        """Load one cell after the other; the first compiler's cell is loaded twice, for the control."""
        live: list[LiveCell] = []
        loaded: list[Seat] = []
        doubled = False
        for place, seat in enumerate(self.plan.seats):
            if live and not self._has_room():
                return live, self.plan.seats[place:]
            if self._anchor is not None and not live and not self._has_room():
                self._drop_anchor()  # it is there for the others, who come first
            cell = self._load_one(seat, twin=False)
            if seat.anchor:
                self._anchor = cell
                continue
            if cell is None:
                continue
            live.append(cell)
            loaded.append(seat)
            if not doubled and not seat.baseline:
                doubled = True
                live += self._load_twin(seat)
        if loaded and not doubled:  # nothing but the baseline is there to be doubled
            live += self._load_twin(loaded[0])
        return live, ()

    def _drop_anchor(self) -> None:
        if self._anchor is not None:
            self._anchor.worker.kill()
        self._anchor = None

    def _load_twin(self, seat: Seat) -> list[LiveCell]:
        """The cell of *seat* once more, as the control; none if it has no room or fails, which harms no cell."""
        twin = self._load_one(seat, twin=True) if self._has_room() else None
        return [twin] if twin is not None else []

    def _has_room(self) -> bool:
        return self.watch.has_room(ROOM_FACTOR * self._largest_bytes)

    def _load_one(self, seat: Seat, *, twin: bool) -> LiveCell | None:
        cell = seat.prepared.cell
        self.tick(f"load {cell.full_variant} {cell.backend}{' (again, as control)' if twin else ''}")
        stderr = self.plan.scratch / f"{len(self._workers)}-{cell.backend}.log"
        try:
            live = load_cell(
                seat.prepared,
                seat.settings,
                stderr,
                measure=self.plan.measure,
                time_limit_s=seat.time_limit_s,
                twin=twin,
                started=self._workers.append,
            )
        except CellError as error:
            self._workers[-1].kill()
            if not twin and not seat.anchor:
                self._fail(seat.prepared, error)
            return None
        self._largest_bytes = max(self._largest_bytes, live.worker.rss_bytes())
        return live

    def _sample(self, live: list[LiveCell]) -> None:
        """Rounds of one block each, forwards and backwards in turn, until every cell is done."""
        active, forward = list(live), True
        while active:
            beside = [self._anchor] if self._anchor is not None and not self._anchor.done() else []
            turn = [*beside, *active]
            failed = [cell for cell in (turn if forward else turn[::-1]) if not self._block(cell)]
            if self._anchor in failed:
                self._anchor = None
            forward = not forward
            active = [cell for cell in active if cell not in failed]
            pair = _twins(active)
            waiting = pair if not all(cell.done() for cell in pair) else []
            done = [cell for cell in active if cell.done() and cell not in waiting]
            if pair and not waiting:
                self._control(*pair)
            for cell in done:
                self._finish(cell)
            active = [cell for cell in active if cell not in done]

    def _block(self, cell: LiveCell) -> bool:
        """Take one block; False if it failed. A cell that fails is recorded and ended."""
        self.tick(f"measure {cell.cell.full_variant} {cell.cell.backend}, t{cell.cell.threads}")
        try:
            with self.watch.block(id(cell)) as tally:
                tally(cell.take_block())
        except CellError as error:
            cell.worker.kill()
            if not cell.twin and cell is not self._anchor:
                self._fail(cell.prepared, error)
            return False
        return True

    def _finish(self, cell: LiveCell) -> None:
        try:
            report = cell.report()
            accuracy, fidelity = self._evaluate(cell, report)
        except CellError as error:
            cell.worker.kill()
            if not cell.twin:
                self._fail(cell.prepared, error)
            return
        closing = _close(cell)
        if cell.twin:
            return
        suspicious, notes = _thread_words(cell.cell.threads, report["threads_seen"], self.plan.cores)
        record = measured_cell(
            cell,
            report,
            cores=self.plan.cores,
            suspicious=[*self.watch.reasons(id(cell)), *suspicious],
            notes=[*notes, *closing],
            sitting=self.plan.sitting,
            group=self.plan.name,
        ).model_copy(update={"accuracy": accuracy, "fidelity": fidelity, "baseline": self._baseline()})
        self.finished(record, None)

    def _baseline(self) -> BaselineFigure | None:
        """What the baseline took so far, where it is here for the others' sake only."""
        if self._anchor is None:
            return None
        summary = self._anchor.summary()
        return BaselineFigure(
            cell=self._anchor.cell.key,
            median_ms=summary.median,
            ci_low_ms=summary.interval.low,
            ci_high_ms=summary.interval.high,
            ci_confidence=summary.interval.confidence,
        )

    def _evaluate(self, cell: LiveCell, report: Message) -> tuple[Accuracy | None, Fidelity | None]:
        """Judge the outputs of a cell that has been timed; the control's twin shows nothing new."""
        if cell.twin:
            return None, None
        self.tick(f"evaluate {cell.cell.full_variant} {cell.cell.backend}, t{cell.cell.threads}")
        return cell.evaluate(self.plan.scratch / "evaluation.npz", report)

    def _fail(self, prepared: Prepared, error: CellError) -> None:
        record = failed_cell(prepared.cell, error, sitting=self.plan.sitting, group=self.plan.name, prepared=prepared)
        self.finished(record, error)

    def _control(self, first: LiveCell, second: LiveCell) -> None:
        floor = aa_floor(first.blocks_ns, second.blocks_ns)
        if floor is None:
            return
        medians = [cell.summary().median for cell in (first, second)]
        self.controlled(
            Control(
                group=self.plan.name,
                cell=first.cell.key,
                median_ms=medians[0],
                twin_median_ms=medians[1],
                ratio=medians[1] / medians[0],
                floor=floor,
                rounds=min(len(first.blocks_ns), len(second.blocks_ns)),
            )
        )


def _twins(active: Sequence[LiveCell]) -> list[LiveCell]:
    """The A/A pair, original first; empty unless both still run."""
    second = next((cell for cell in active if cell.twin), None)
    first = next((cell for cell in active if second and not cell.twin and cell.cell.key == second.cell.key), None)
    return [first, second] if first and second else []


def _close(cell: LiveCell) -> list[str]:
    """End a measured cell; that its runtime fails at the very end takes nothing from what was measured."""
    try:
        cell.close()
    except CellError as error:
        cell.worker.kill()
        return [f"closing the session failed: {error.reason}"]
    return []


def _thread_words(asked: int, seen: int, cores: Sequence[int]) -> tuple[list[str], list[str]]:
    """What is suspicious about the threads, and what is only worth a note."""
    suspicious = []
    if seen > asked:
        suspicious.append(f"{asked} threads were asked for, but {seen} worked")
    if asked > len(cores):
        suspicious.append(f"oversubscribed: {asked} threads on {len(cores)} cores")
    notes = [f"of {asked} threads asked for, {seen} did nearly all of the work"] if seen < asked else []
    return suspicious, notes
