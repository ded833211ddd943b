"""Makes cells ready to be profiled: exported, compiled as users have them, and once more where a profile wants it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...backends import registry
from ...backends.base import CompileRequest
from ...backends.profile import Profiled
from ...models.errors import CellError, UnsupportedError
from ..advisers import Advisers
from ..artifacts import Artifact, CompileRoom, compile_cells
from ..plan import CellSpec
from ..preparing import prepare_subjects, prepared_cell, subject_key, time_limit_s, worker_settings
from ..subjects import Subject
from ..suite import Suite
from .pair import PairSeat, ToProfile

__all__ = ["Ready", "prepare_pairs"]


@dataclass(kw_only=True)
class Ready:
    """What can be profiled, and what cannot."""

    seats: dict[CellSpec, PairSeat] = field(default_factory=dict)
    subjects: dict[CellSpec, Subject] = field(default_factory=dict)
    failed: dict[CellSpec, CellError] = field(default_factory=dict)


def prepare_pairs(cells: Sequence[CellSpec], advisers: Advisers, suite: Suite, room: CompileRoom) -> Ready:
    """Prepare *cells*. Raises UserError for an unusable model."""
    ready = Ready()
    able = list(_able(cells, ready))
    room.listener.plan(2 * len(able))
    subjects = prepare_subjects(
        able, suite, cache=room.cache, scratch=room.scratch, cores=room.cores, listener=room.listener
    )
    for cell in able:
        subject = subjects[subject_key(cell)]
        if isinstance(subject, Subject):
            ready.subjects[cell] = subject
        else:
            ready.failed[cell] = subject
    special = {cell: _special(cell, subject) for cell, subject in ready.subjects.items()}
    plain = compile_cells(ready.subjects, advisers, suite, room)
    own = {special[cell]: subject for cell, subject in ready.subjects.items() if special[cell] != cell}
    profiled = plain | compile_cells(own, advisers, suite, room)
    for cell, subject in ready.subjects.items():
        artifacts = plain[cell.key], profiled[cell.key]
        failed = next((artifact for artifact in artifacts if isinstance(artifact, CellError)), None)
        if failed is not None:
            ready.failed[cell] = failed
            continue
        timed, told = (artifact for artifact in artifacts if isinstance(artifact, Artifact))
        ready.seats[cell] = PairSeat(
            plain=prepared_cell(cell, timed, subject),
            profiled=ToProfile(**vars(prepared_cell(special[cell], told, subject)), model=subject.exported.path),
            settings=worker_settings(cell, suite, cores=room.cores, memory_limit_bytes=room.memory_limit_bytes),
            time_limit_s=time_limit_s(cell, suite),
        )
    return ready


def _able(cells: Iterable[CellSpec], ready: Ready) -> Iterable[CellSpec]:
    """The cells whose backend has a profiler; the others fail."""
    for cell in cells:
        if isinstance(registry.get(cell.backend), Profiled):
            yield cell
        else:
            reason = f"bakeoff reads no profiler of {cell.backend}"
            ready.failed[cell] = UnsupportedError(reason, blame="harness", stage="profile")


def _special(cell: CellSpec, subject: Subject) -> CellSpec:
    """The cell as it has to be compiled to be profiled: the same, or with options of its own."""
    backend = registry.get(cell.backend)
    assert isinstance(backend, Profiled)
    request = CompileRequest(
        model=subject.exported.path, out=Path(), device=cell.device, threads=cell.threads, options=cell.options
    )
    return replace(cell, options={**cell.options, **backend.profiling_options(request)})
