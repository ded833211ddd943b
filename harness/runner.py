"""Runs a suite: from its models to finished cells in the store.

The host lock is held by the caller from the first probe to the last block: even compiling would disturb the figures
of another run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..models.errors import CellError, MismatchError
from ..reports.results import Cell, Control
from .advisers import Advisers, BackendFacts, interpreter_of
from .artifacts import Artifact, CompileRoom, compile_cells
from .blame import blame_mismatch
from .cores import choose_cores
from .group import Group, GroupPlan, Seat
from .phases import PhaseClock
from .plan import CellSpec, group_cells
from .preparing import (
    SubjectKey,
    prepare_subjects,
    prepared_cell,
    subject_key,
    time_limit_s,
    worker_settings,
)
from .process import Worker, WorkerSettings
from .progress import Listener
from .record import failed_cell
from .reproduce import quantization_beside, write_reproducer
from .store import Store
from .subjects import Subject
from .suite import Suite
from .watch import Watch

__all__ = ["Runner"]


@dataclass(kw_only=True)
class Runner:
    """One sitting of one run. `prepare` and then `measure`; every finished cell is in the store before the next."""

    run_id: str
    suite: Suite
    sitting: int
    store: Store
    facts: dict[str, BackendFacts]
    cache: Path
    scratch: Path
    reproducers: Path
    """Folder for the scripts that reproduce failures."""
    cores: tuple[int, ...]
    memory_limit_bytes: int
    standing: tuple[str, ...]
    """What makes every figure of this sitting suspicious."""
    listener: Listener
    clock: PhaseClock
    subjects: dict[SubjectKey, Subject | CellError] = field(default_factory=dict)
    artifacts: dict[str, Artifact | CellError] = field(default_factory=dict)
    _mismatched_baselines: set[str] = field(default_factory=set)
    _measured: set[str] = field(default_factory=set)
    """Keys of the cells that have a figure."""

    def prepare(self, cells: Sequence[CellSpec], advisers: Advisers) -> None:
        """Export every model and compile every artifact that *cells* need. Raises UserError for an unusable model."""
        with self.clock.phase("export"):
            self.subjects = prepare_subjects(
                cells,
                self.suite,
                cache=self.cache,
                scratch=self.scratch,
                cores=self.cores,
                listener=self.listener,
            )
        ready = {cell: found for cell in cells if isinstance(found := self._subject_of(cell), Subject)}
        room = CompileRoom(
            cache=self.cache,
            scratch=self.scratch,
            cores=self.cores,
            memory_limit_bytes=self.memory_limit_bytes,
            listener=self.listener,
        )
        with self.clock.phase("compile"):
            self.artifacts = compile_cells(ready, advisers, self.suite, room)

    def measure(self, cells: Sequence[CellSpec]) -> None:
        """Measure the cells group by group; those that cannot be loaded become failed cells at once."""
        for group in group_cells(cells):
            seats = [seat for cell in group if (seat := self._seat(cell)) is not None]
            part, anchor = 1, _anchor_of(seats)
            while seats:
                name = group[0].group if part == 1 else f"{group[0].group}#{part}"
                again = [anchor] if anchor and part > 1 and anchor.prepared.cell.key in self._measured else []
                seats = list(self._measure_group(name, group[0].threads, [*again, *seats]))
                part += 1

    def _measure_group(self, name: str, threads: int, seats: Sequence[Seat]) -> Sequence[Seat]:
        cores = choose_cores(threads, self.cores)
        watch = Watch(cores=self.cores, standing=self.standing)
        group = Group(
            plan=GroupPlan(
                name=name,
                seats=seats,
                measure=self.suite.measure,
                cores=cores,
                sitting=self.sitting,
                scratch=self.scratch,
            ),
            watch=watch,
            clock=self.clock,
            finished=self._finished,
            controlled=self._controlled,
            tick=self.listener.tick,
        )
        left = group.run()
        self.store.add_state(self.run_id, watch.state())
        return left

    def _seat(self, cell: CellSpec) -> Seat | None:
        subject = self._subject_of(cell)
        if isinstance(subject, CellError):
            self._give_up(cell, subject)
            return None
        artifact = self.artifacts[cell.key]
        if isinstance(artifact, CellError):
            self._give_up(cell, artifact)
            return None
        return Seat(
            prepared=prepared_cell(cell, artifact, subject),
            settings=worker_settings(cell, self.suite, cores=self.cores, memory_limit_bytes=self.memory_limit_bytes),
            time_limit_s=time_limit_s(cell, self.suite),
            baseline=self.facts[cell.backend].baseline,
        )

    def _give_up(self, cell: CellSpec, problem: CellError) -> None:
        self._finished(failed_cell(cell, problem, sitting=self.sitting, group=cell.group), problem)

    def _finished(self, cell: Cell, error: CellError | None) -> None:
        if error is not None:
            cell = self._explained(cell, error)
        else:
            self._measured.add(cell.key)
        self.store.add_cell(self.run_id, cell)
        self.listener.step(f"done {cell.variant} {cell.backend} t{cell.threads}")
        if error is not None:
            self.listener.say(f"{cell.status}: {cell.key}: {cell.reason}")

    def _controlled(self, control: Control) -> None:
        self.store.add_control(self.run_id, control)

    def _explained(self, cell: Cell, error: CellError) -> Cell:
        """The failed *cell* with its blame, and with the script that reproduces it where there is a model to run."""
        spec = CellSpec(
            model=cell.model,
            variant=cell.variant.rsplit("@", 1)[1],
            backend=cell.backend,
            scenario=cell.scenario,
            threads=cell.threads,
            batch=cell.batch,
            device=cell.device,
            options=cell.options,
        )
        if isinstance(error, MismatchError) and error.blame == "unknown":
            baseline = self.facts[cell.backend].baseline
            compared = f"{spec.variant} {spec.group}"
            if baseline:
                self._mismatched_baselines.add(compared)
            error.blame = blame_mismatch(
                stage=error.stage, baseline=baseline, baseline_mismatched=compared in self._mismatched_baselines
            )
        subject = self._subject_of(spec)
        if not isinstance(subject, Subject):
            return cell.model_copy(update={"blame": error.blame})
        script = self._write_reproducer(spec, error, subject)
        return cell.model_copy(update={"blame": error.blame, "reproducer": str(script) if script else None})

    def _write_reproducer(self, cell: CellSpec, error: CellError, subject: Subject) -> Path | None:
        settings = WorkerSettings(python=interpreter_of(cell.backend, self.suite.backends))
        with Worker(settings, self.scratch / "reproducer.log") as worker:
            try:
                worker.greet()
                source = worker.ask(
                    {
                        "op": "reproducer",
                        "backend": cell.backend,
                        "model": str(subject.exported.path),
                        "out": "",
                        "device": cell.device,
                        "threads": cell.threads,
                        "options": dict(cell.options),
                        "quantization": quantization_beside(subject.build),
                    },
                    limit_s=self.suite.measure.call_limit_s,
                )["source"]
            except CellError as problem:
                self.listener.say(f"no script reproduces {cell.key}: {problem.reason}")
                return None
        try:
            return write_reproducer(cell, error, subject, source, self.reproducers / self.run_id)
        except OSError as problem:  # the cell itself must not be lost for it
            self.listener.say(f"no script reproduces {cell.key}: {problem}")
            return None

    def _subject_of(self, cell: CellSpec) -> Subject | CellError:
        return self.subjects[subject_key(cell)]


def _anchor_of(seats: Sequence[Seat]) -> Seat | None:
    """The baseline that speed-ups of all cells in a group refer to, to be measured again beside those left over."""
    found = (seat for seat in seats if seat.baseline and seat.prepared.cell.variant == "fp32")
    return next((replace(seat, anchor=True) for seat in found), None)
