"""Bars over profiles: rows add up, nearly all time is anchored, and anchors that were shuffled are refused."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bakeoff.backends import registry
from bakeoff.backends.profile import Profile
from bakeoff.harness.advisers import Advisers
from bakeoff.harness.artifacts import CompileRoom
from bakeoff.harness.cores import usable_cores
from bakeoff.harness.energy import EnergyMeter
from bakeoff.harness.plan import CellSpec, expand, group_cells
from bakeoff.harness.profiling.cells import without_judging
from bakeoff.harness.profiling.graph import Graph
from bakeoff.harness.profiling.mapping import map_profile
from bakeoff.harness.profiling.pair import PairSeat, Taken
from bakeoff.harness.profiling.preparing import Ready, prepare_pairs
from bakeoff.harness.profiling.record import backend_profile
from bakeoff.harness.profiling.rounds import Rounds
from bakeoff.harness.suite import Suite, parse_suite
from bakeoff.harness.watch import Watch
from bakeoff.models.cache import default_cache
from bakeoff.models.nodes import read_nodes
from bakeoff.reports.profiles import BackendProfile
from lab import Quiet

Say = Callable[[str, float, str, bool], bool]
MODELS = ("resnet50", "mobilenet_v2", "efficientnet_lite0")
VARIANTS = ("fp32", "int8")
BACKENDS = ("onnxruntime", "openvino", "tvm", "inductor", "litert")
SHUFFLES = 60
SECONDS = 2.0
"""Sampling time of each cell."""
TURNS = 4
"""A cell that was profiled while the machine was busy is profiled anew, so many times at most."""


def sums(say: Say, models: Sequence[str] = MODELS, backends: Sequence[str] = BACKENDS) -> bool:
    """Rows and what lies between them, over the unprofiled median with the stated overhead: within 10%.

    It can be met on a quiet machine only: what interrupts an inference is in its time, and in the median of no row.
    """
    met = True
    for model in models:
        for cell, taken, graph in _profiled(model, backends, TURNS):
            found = _record(cell, taken, graph)
            share = found.accounted or 0.0
            bar = (
                f"{cell.full_variant} in {cell.backend}: rows {found.sum_ms:.2f} and between {found.between_ms:.2f} ms"
            )
            bar += f" over {found.median_ms:.2f} ms x {found.overhead:.3f}"
            bar += f" (suspicious: {'; '.join(taken.suspicious)})" if taken.suspicious else ""
            met &= say(bar, share, "0.9-1.1", abs(share - 1) <= 0.1)
    return met


def mapping(say: Say, models: Sequence[str] = MODELS, backends: Sequence[str] = BACKENDS) -> bool:
    """Each convolution and product owned once, nearly all of the time anchored, and every shuffle refused."""
    met = True
    for model in models:
        for cell, taken, graph in _profiled(model, backends, 1):
            mapped = map_profile(graph, taken.profile)
            name = f"{cell.full_variant} in {cell.backend}"
            failed = [check for check, failures in mapped.failures.items() if failures]
            met &= say(f"{name}: failed checks {failed}", len(failed), "0", not failed)
            shares = mapped.shares
            met &= say(f"{name}: anchored", shares.anchored, "0.95 or more", shares.anchored >= 0.95)
            met &= say(f"{name}: unmapped", shares.unmapped, "under 0.01", shares.unmapped < 0.01)
            every = [*_shuffled(taken.profile), *_exchanged(graph, taken.profile)]
            refused = sum(map_profile(graph, one).refused for one in every)
            bar = f"{name}: refused of {len(every)} profiles with shuffled or exchanged anchors"
            met &= say(bar, refused, str(len(every)), refused == len(every) == 2 * SHUFFLES)
    return met


def _record(cell: CellSpec, taken: Taken, graph: Graph) -> BackendProfile:
    return backend_profile(cell, taken, map_profile(graph, taken.profile), graph, version="", onnx_sha256="")


def _profiled(model: str, backends: Sequence[str], turns: int) -> Iterator[tuple[CellSpec, Taken, Graph]]:
    """*model* in both variants, profiled as `bakeoff profile` does it; suspicious cells up to *turns* times."""
    names = ", ".join(f'"{name}"' for name in backends)
    text = (
        f'name = "bench"\n[matrix]\nmodels = ["{model}"]\nvariants = ["fp32", "int8"]\nbackends = [{names}]\n'
        f"threads = [1]\n[measure]\ntime_limit_s = {SECONDS}\n"
    )
    suite = without_judging(parse_suite(text, "bench"))
    with tempfile.TemporaryDirectory(prefix="bakeoff-bench-") as folder:
        ready = _ready(suite, Path(folder))
        if ready.failed:
            raise RuntimeError("; ".join(f"{cell.key}: {error}" for cell, error in ready.failed.items()))
        for group in group_cells(ready.seats):
            taken: dict[str, Taken] = {}
            for _ in range(turns):
                doubtful = [cell for cell in group if cell.key not in taken or taken[cell.key].suspicious]
                if doubtful:
                    taken |= _taken(suite, ready, doubtful, Path(folder))
            for cell in group:
                yield cell, taken[cell.key], Graph(read_nodes(ready.subjects[cell].exported.path))


def _ready(suite: Suite, scratch: Path) -> Ready:
    cores = usable_cores()
    room = CompileRoom(cache=default_cache(), scratch=scratch, cores=cores, memory_limit_bytes=2**34, listener=Quiet())
    with Advisers(list(suite.matrix.backends), {}, cores=cores, scratch=scratch) as advisers:
        cells = expand(suite, installed=advisers.installed, known=registry.names(), all_cores=len(cores))
        return prepare_pairs(cells, advisers, suite, room)


def _taken(suite: Suite, ready: Ready, group: Sequence[CellSpec], scratch: Path) -> dict[str, Taken]:
    found: dict[str, Taken] = {}
    seats: Sequence[PairSeat] = [ready.seats[cell] for cell in group]
    while seats:
        rounds = Rounds(
            measure=suite.measure,
            watch=Watch(cores=usable_cores()),
            meter=EnergyMeter(ranges_uj={}),
            scratch=scratch,
            tick=lambda _words: None,
        )
        seats = rounds.run(seats)
        for key, error in rounds.failed.items():
            raise RuntimeError(f"{key}: {error}")
        found |= rounds.taken
    return found


def _shuffled(profile: Profile) -> Iterator[Profile]:
    """*profile* with the claims of all rows that claim anything in random orders."""
    rng = random.Random(0)
    claiming = [place for place, row in enumerate(profile.rows) if row.claims]
    for _ in range(SHUFFLES):
        order = list(claiming)
        while order == claiming:
            rng.shuffle(order)
        yield _with_claims(profile, dict(zip(claiming, order, strict=True)))


def _exchanged(graph: Graph, profile: Profile) -> Iterator[Profile]:
    """*profile* with the claims of two rows that own convolutions or products exchanged.

    Pairs that the mapping itself names as such that no check tells apart are left out.
    """
    rng = random.Random(1)
    mapped = map_profile(graph, profile)
    rows = {
        node.place: place
        for place, row in enumerate(mapped.rows)
        for node in row.nodes
        if graph.nodes[node.place].heavy and not node.shared
    }
    alike = {frozenset((rows[first], rows[second])) for first, second in mapped.exchangeable}
    heavy = sorted(set(rows.values()))
    pairs = [(first, second) for place, first in enumerate(heavy) for second in heavy[place + 1 :]]
    pairs = [pair for pair in pairs if frozenset(pair) not in alike]
    for first, second in rng.sample(pairs, SHUFFLES):
        yield _with_claims(profile, {first: second, second: first})


def _with_claims(profile: Profile, order: dict[int, int]) -> Profile:
    """*profile*, each row at a place of *order* with the claims of the other one there."""
    rows = list(profile.rows)
    for place, other in order.items():
        rows[place] = replace(rows[place], claims=profile.rows[other].claims)
    return replace(profile, rows=tuple(rows))
