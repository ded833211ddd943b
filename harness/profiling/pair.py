"""One cell twice: as users have it, and with its runtime's profiler on, each in a process of its own.

The first is what the rows must add up to, the second tells the rows; asked for blocks in turn, they show together what
profiling costs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

from ...backends.profile import Profile
from ..live import LiveCell, Prepared
from ..process import Worker, WorkerSettings
from ..protocol import Message
from ..stats import Summary
from ..suite import Measure
from .take import decode_rows

__all__ = ["Pair", "PairSeat", "ProfiledCell", "Taken", "ToProfile"]

FEWEST_CALLS = 20
MOST_CALLS = 400
"""Profiled calls of one cell: every one of them keeps a time for each row."""


_Kind = TypeVar("_Kind", bound=LiveCell)


@dataclass(frozen=True, kw_only=True)
class ToProfile(Prepared):
    """A cell whose artifact is ready to be loaded with the profiler on."""

    model: Path
    """The ONNX file that was compiled."""


@dataclass(kw_only=True, eq=False)
class ProfiledCell(LiveCell):
    """A cell whose runtime keeps account; its times are its own, with the profiler on."""

    @classmethod
    def loading(cls, prepared: Prepared) -> Message:
        """The operation that loads."""
        assert isinstance(prepared, ToProfile)
        return {"op": "load_profiled", "model": str(prepared.model)}

    def measuring(self) -> Message:
        """The operation that takes a block, besides how many calls."""
        return {"op": "profile"}

    def profiled_calls(self) -> int:
        """Calls that were kept account of."""
        return sum(len(block) for block in self.blocks_ns)

    def full(self) -> bool:
        """Whether the next block would take more calls than are kept."""
        return self.profiled_calls() + self.calls > MOST_CALLS

    def done(self) -> bool:
        """As of any cell, but not before each row has enough times for a median."""
        return super().done() and (self.profiled_calls() >= FEWEST_CALLS or self.spent_s >= self.time_limit_s)

    def profile(self) -> Profile:
        """All that the runtime told; called once, after the last block."""
        self.worker.go()
        answer = self.worker.ask({"op": "rows"}, limit_s=self.measure.call_limit_s)
        times = tuple(time_ns / 1e6 for block in self.blocks_ns for time_ns in block)
        return Profile(rows=decode_rows(answer["rows"]), inference_ms=times)


@dataclass(frozen=True, kw_only=True)
class PairSeat:
    """What a pair is made of."""

    plain: Prepared
    profiled: ToProfile
    settings: WorkerSettings
    time_limit_s: float


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A profile and the figures that it has to be seen with."""

    profile: Profile
    plain: Summary
    """Of the cell without the profiler, in milliseconds."""
    overhead: float
    """Median over rounds of the profiled block's median over the other's: 1.02 is two per cent more."""
    first_ms: float
    """Its very first inference."""
    report: Message
    """How the cell without the profiler ran, as its worker tells."""
    energy_mj: float | None = None
    """Of the processor's packages, for one inference without the profiler; None where there is no counter."""
    suspicious: tuple[str, ...] = ()


@dataclass(kw_only=True, eq=False)
class Pair:
    """Both workers of a cell, alive, and whoever is not asked stopped."""

    seat: PairSeat
    plain: LiveCell
    profiled: ProfiledCell
    _forward: bool = field(default=True)
    _joules: float = 0.0
    _spent_calls: int = 0

    @classmethod
    def load(cls, seat: PairSeat, measure: Measure, logs: Path, started: list[Worker]) -> Pair:
        """Start both workers, load, check the outputs of both, warm up. Raises CellError.

        *logs* is the folder for their stderr; the workers are appended to *started* as soon as they live.
        """

        def begin(kind: type[_Kind], prepared: Prepared, name: str) -> _Kind:
            log = logs / f"{len(started)}-{prepared.cell.backend}-{name}.log"
            started.append(Worker(seat.settings, log))
            return kind.begin(prepared, started[-1], measure=measure, time_limit_s=seat.time_limit_s)

        return cls(
            seat=seat,
            plain=begin(LiveCell, seat.plain, "plain"),
            profiled=begin(ProfiledCell, seat.profiled, "profiled"),
        )

    def cells(self) -> tuple[LiveCell, LiveCell]:
        """Both, in an order that alternates from round to round."""
        self._forward = not self._forward
        return (self.profiled, self.plain) if self._forward else (self.plain, self.profiled)

    def spend(self, joules: float) -> None:
        """Note the energy of the last block without the profiler, the calls that settle it among it."""
        self._joules += joules
        self._spent_calls += self.plain.settle + self.plain.calls

    def done(self) -> bool:
        """Whether both are known well enough, or no more calls are kept."""
        return self.profiled.full() or (self.plain.done() and self.profiled.done())

    def finish(self) -> Taken:
        """Ask for all that was kept, and end both workers in good order. Raises CellError."""
        profile, report = self.profiled.profile(), self.plain.report()
        rounds = zip(self.profiled.blocks_ns, self.plain.blocks_ns, strict=True)
        taken = Taken(
            profile=profile,
            plain=self.plain.summary(),
            overhead=median(median(profiled) / median(plain) for profiled, plain in rounds),
            first_ms=self.plain.first["first_ns"] / 1e6,
            report=report,
            energy_mj=1e3 * self._joules / self._spent_calls if self._spent_calls else None,
        )
        for cell in (self.plain, self.profiled):
            cell.close()
        return taken

    def kill(self) -> None:
        """End both at once."""
        for cell in (self.plain, self.profiled):
            cell.worker.kill()
