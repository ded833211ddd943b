"""`bakeoff profile`, from the models that are asked for to the finished report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ... import __version__
from ...backends import registry
from ...backends.base import Probe
from ...models.errors import StageError, UserError, WorkerError
from ...models.nodes import read_nodes
from ...models.work_reading import read_work
from ...reports.peak_figures import roof_names, unsettled_words
from ...reports.profiles import BackendProfile, GroupTimes, ProfileReport
from ...reports.results import Peaks
from ..advisers import Advisers
from ..artifacts import CompileRoom
from ..cgroup import own_cgroup
from ..cores import all_cores, usable_cores
from ..energy import EnergyMeter, find_meter
from ..hostlock import hold_host
from ..machine import judge_state, snapshot, worker_memory
from ..peaks_kept import target_peaks
from ..plan import CellSpec, asked_backends, expand, group_cells
from ..progress import Listener
from ..subjects import Subject, resolve_models
from ..suite import Suite
from ..target import describe_target
from ..watch import Watch
from .graph import Graph
from .limits import Limits
from .mapping import LayerMap, map_profile
from .pair import PairSeat, Taken
from .preparing import Ready, prepare_pairs
from .record import backend_profile, group_times, not_profiled
from .roofline import ASSUMPTIONS, ceilings
from .rounds import Rounds
from .rules import explain
from .variants import across_variants

__all__ = ["ProfileOrder", "profile_suite"]


@dataclass(frozen=True, kw_only=True)
class ProfileOrder:
    """What to profile, and with what."""

    suite: Suite
    command: str
    """The command line that reproduces it."""
    cache: Path
    listener: Listener
    together: bool = False
    """Interleave all cells, not only those of one model in one setting."""


def profile_suite(order: ProfileOrder) -> ProfileReport:
    """Profile every cell of the suite on this machine. Raises UserError before anything is measured."""
    resolve_models(order.suite)
    for name in asked_backends(order.suite):
        registry.get(name)
    with hold_host(order.listener.say), tempfile.TemporaryDirectory(prefix="bakeoff-") as scratch:
        return _Sitting(order=order, scratch=Path(scratch)).run()


@dataclass(kw_only=True)
class _Sitting:
    """One sitting: prepare, profile, map."""

    order: ProfileOrder
    scratch: Path
    cores: tuple[int, ...] = field(default_factory=usable_cores)
    ready: Ready = field(default_factory=Ready)
    taken: dict[CellSpec, Taken] = field(default_factory=dict)
    meter: EnergyMeter = field(default_factory=find_meter)
    unlimited: list[str] = field(default_factory=list)
    """Why some have no limits, in words."""

    def run(self) -> ProfileReport:
        order, suite = self.order, self.order.suite
        order.listener.tick("look at this machine and at the backends")
        standing = judge_state(snapshot(self.cores), len(self.cores))
        asked = asked_backends(suite)
        names = [name for name in registry.names() if "all" in suite.matrix.backends or name in asked]
        with Advisers(names, suite.backends, cores=self.cores, scratch=self.scratch) as advisers:
            advisers.require(asked)
            cells = self._cells(advisers)
            facts = advisers.facts
            self.ready = prepare_pairs(cells, advisers, suite, self._room())
        for group in [list(self.ready.seats)] if order.together else group_cells(self.ready.seats):
            self._profile([self.ready.seats[cell] for cell in group], standing)
        probes = {name: Probe(available=known.available, devices=known.devices) for name, known in facts.items()}
        target = describe_target(probes).id
        peaks = self._peaks(target)
        profiles, groups = self._map({name: known.version for name, known in facts.items()}, peaks)
        failed = self.ready.failed
        return ProfileReport(
            bakeoff_version=__version__,
            target_id=target,
            command=order.command,
            profiles=tuple(profiles),
            groups=tuple(groups),
            layers=tuple(across_variants(groups)),
            not_profiled=tuple(not_profiled(cell, failed[cell]) for cell in cells if cell in failed),
            peaks=peaks,
            assumptions=(
                *(ASSUMPTIONS if peaks is not None else ()),
                *_unsettled(peaks),
                *dict.fromkeys(self.unlimited),
                *filter(None, [self.meter.reason]),
            ),
        )

    def _cells(self, advisers: Advisers) -> list[CellSpec]:
        cells = expand(
            self.order.suite,
            installed=advisers.installed,
            known=registry.names(),
            all_cores=all_cores(self.cores, own_cgroup().limits().cpu_quota_cores),
        )
        advisers.check(cells)
        return cells

    def _room(self) -> CompileRoom:
        return CompileRoom(
            cache=self.order.cache,
            scratch=self.scratch,
            cores=self.cores,
            memory_limit_bytes=worker_memory(self.order.suite.measure.memory_limit_gib),
            listener=self.order.listener,
        )

    def _profile(self, seats: Sequence[PairSeat], standing: tuple[str, ...]) -> None:
        """Profile the cells of one comparison, in as many parts as memory wants."""
        while seats:
            rounds = Rounds(
                measure=self.order.suite.measure,
                watch=Watch(cores=self.cores, standing=standing),
                meter=self.meter,
                scratch=self.scratch,
                tick=self.order.listener.tick,
            )
            left = rounds.run(seats)
            for seat in seats:
                cell = seat.plain.cell
                if cell.key in rounds.taken:
                    self.taken[cell] = rounds.taken[cell.key]
                elif cell.key in rounds.failed:
                    self.ready.failed[cell] = rounds.failed[cell.key]
                else:
                    continue
                self.order.listener.step(f"done {cell.full_variant} {cell.backend} t{cell.threads}")
            seats = left

    def _peaks(self, target: str) -> Peaks | None:
        """What this machine can do at best: kept from an earlier sitting, or measured now. A profile is worth something
        without it, too."""
        self.order.listener.tick("look up, or measure, what this machine can do at best")
        try:
            return target_peaks(target, self.cores)
        except (WorkerError, OSError) as error:
            self.unlimited.append(f"No limits: this machine's peaks could not be had: {error}")
            return None

    def _limits(self, subject: Subject, cell: CellSpec, peaks: Peaks | None) -> Limits | None:
        """The limits of the graph of *cell*; None, and why, where there are none."""
        if peaks is None:
            return None
        if cell.device != "cpu":
            self.unlimited.append(f"No limits on {cell.device}: only the CPU's peaks are measured")
            return None
        try:
            return Limits(work=read_work(subject.exported.path), machine=ceilings(peaks, cell.threads))
        except (StageError, UserError) as error:
            self.unlimited.append(f"No limits for {cell.full_variant}: {error}")
            return None

    def _map(self, versions: Mapping[str, str], peaks: Peaks | None) -> tuple[list[BackendProfile], list[GroupTimes]]:
        profiles: list[BackendProfile] = []
        groups: list[GroupTimes] = []
        for subject, cells in self._by_graph():
            self.order.listener.tick(f"map the rows of {cells[0].full_variant}")
            try:
                graph = Graph(read_nodes(subject.exported.path))
            except StageError as error:
                self.ready.failed.update(dict.fromkeys(cells, error))
                continue
            maps: dict[str, LayerMap] = {}
            limits, found_here = self._limits(subject, cells[0], peaks), list[BackendProfile]()
            for cell in cells:
                mapped = map_profile(graph, self.taken[cell].profile)
                found = backend_profile(
                    cell,
                    self.taken[cell],
                    mapped,
                    graph,
                    version=versions[cell.backend],
                    onnx_sha256=subject.exported.sha256,
                )
                found_here.append(limits.profile(found) if limits is not None else found)
                maps[cell.backend] = mapped
            profiles += found_here
            for group in group_times(cells[0], maps, graph):
                groups.append(limits.group(group, found_here) if limits is not None else group)
        return [one.model_copy(update={"findings": explain(one, profiles)}) for one in profiles], groups

    def _by_graph(self) -> Iterator[tuple[Subject, list[CellSpec]]]:
        """Cells that ran the same graph in the same setting on different backends."""
        found: dict[tuple[str, str], list[CellSpec]] = {}
        for cell in self.taken:
            found.setdefault((cell.full_variant, cell.group), []).append(cell)
        for cells in found.values():
            yield self.ready.subjects[cells[0]], cells


def _unsettled(peaks: Peaks | None) -> tuple[str, ...]:
    """A limit may be as much too high as a peak that did not come out alike is too low."""
    words = unsettled_words(peaks, roof_names(peaks)) if peaks is not None else ""
    return (f"Peaks that have not settled: {words}.",) if words else ()
