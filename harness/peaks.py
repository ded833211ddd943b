"""What the target's cores and memory can do at best, measured.

One pinned, single-threaded process for each core does the work; the rate of several cores is the sum over processes
that work in the same window of time, and the best of a few windows counts. There are two kinds of figures. Matrix
products and copies by numpy are what a well-written library reaches; a convolution can be a little faster than the best
matrix product. Multiply-adds in registers, and reads and copies in each level of the memory, are roofs: nothing that
runs on these cores exceeds them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from ..models.errors import WorkerError
from ..reports.results import ComputePeak, Peaks, TierPeak
from .cores import cache_instances, core_caches
from .isa import cpu_facts, isa_features
from .peak_loops import COMPUTE_LOOPS, PRECISIONS, BuiltLoops, build_loops
from .peak_tiers import Tier, plan_tiers
from .peaks_worker import GEMM_SIZE, MEMORY_WORKS

__all__ = ["measure_peaks"]

CONFIRMED = 0.98
"""A window confirms the best one if it comes as near to it."""
START_DELAY_S = 0.01
"""Time for all processes to read the request before their common start."""
ENOUGH_S = 30.0
"""On a busy machine windows confirm each other late; after this time the best so far count."""
LIMIT_S = 300.0
"""A process that has not done all within this time is killed, and nothing is measured."""
COPY_CACHES = 4
"""A copied array is this many times as large as the last-level cache, so that memory is measured."""
COPY_BYTES = (16 * 2**20, 256 * 2**20)
"""Least and greatest size of a copied array."""


def measure_peaks(cores: Sequence[int]) -> Peaks:
    """Measure on *cores*, for half a minute to a minute; see `Peaks` for what.

    numpy's single-core figures are those of the last of *cores*, since the first is where other work tends to run.
    Raises WorkerError if a process cannot do it.
    """
    isa = isa_features(cpu_facts().flags)
    tiers = plan_tiers(core_caches(cores[-1]), cache_instances(cores), cores, int(psutil.virtual_memory().available))
    size = _copy_bytes(cores)
    with tempfile.TemporaryDirectory(prefix="bakeoff-peaks-") as scratch, ExitStack() as stack:
        built = build_loops(isa, Path(scratch))
        settings = {
            "copy_bytes": size,
            "loops": {name: str(path) for name, path in built.libraries.items()},
            "tiers": {tier.name: tier.working_set_bytes for tier in tiers},
        }
        workers = [stack.enter_context(_PeaksWorker(core, settings)) for core in cores]
        facts = [worker.answer() for worker in workers][-1]
        bench = _Bench(workers=workers, built=built, isa=isa, refused=facts["refused"])
        kinds = list(_LIBRARY_KINDS)
        kinds += [name for precision in PRECISIONS for name in bench.loops(precision)]
        if "MEMORY" in built.libraries:
            kinds += [f"{how}:{tier.name}" for tier in tiers for how in MEMORY_WORKS]
        rates = bench.best(kinds)
    gemm, copied = (rates[kind] for kind in _LIBRARY_KINDS)
    return Peaks(
        gemm_fp32_single_core_gflops=gemm[0],
        gemm_fp32_all_cores_gflops=gemm[1],
        copy_bandwidth_single_core_gbytes_s=copied[0],
        copy_bandwidth_all_cores_gbytes_s=copied[1],
        compute=tuple(bench.compute(precision, rates) for precision in PRECISIONS),
        tiers=tuple(bench.memory(tier, rates) for tier in tiers),
        cores=len(cores),
        method=(
            f"one pinned process per core, {len(cores)} in all; best of {_FEWEST_ROUNDS} to {_MOST_ROUNDS} windows: "
            f"numpy {facts['numpy']} ({facts['blas']}), {_LIBRARY.seconds} s: products of {GEMM_SIZE}x{GEMM_SIZE} "
            f"matrices, copies of {size // 2**20} MB arrays, bytes read plus bytes written; roofs, {_ROOF.seconds} s: "
            f"loops compiled by {built.compiler or 'no compiler'}, "
            "by the processes' own CPU time"
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """Processes that are ready to measure."""

    workers: Sequence[_PeaksWorker]
    built: BuiltLoops
    isa: Sequence[str]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Loops whose instructions the system does not allow, and what it says."""

    def best(self, kinds: Sequence[str]) -> Mapping[str, tuple[float, float]]:
        """The best that one core and all reach in each of *kinds*, giga-units a second.

        All kinds have their windows in turn: where a machine is slow for some seconds none of them is for all of its
        own. One core can do what any did beside the others, so that counts, too.
        """
        counts = sorted({1, len(self.workers)})
        reached: dict[tuple[str, int], list[float]] = {(kind, count): [] for kind in kinds for count in counts}
        single = dict.fromkeys(kinds, 0.0)
        begin = time.monotonic()
        for rounds in range(_MOST_ROUNDS):
            if rounds >= _FEWEST_ROUNDS and time.monotonic() - begin > ENOUGH_S:
                break
            for (kind, count), rates in reached.items():
                if rounds < _FEWEST_ROUNDS or not _confirmed(rates):
                    found = _rates(self.workers[-count:], kind, _LIBRARY if kind in _LIBRARY_KINDS else _ROOF)
                    rates.append(sum(found))
                    single[kind] = max(single[kind], *found)
        return {kind: (round(single[kind], 2), round(max(reached[kind, counts[-1]]), 2)) for kind in kinds}

    def loops(self, precision: str) -> list[str]:
        """Names of the loops for *precision* that can run."""
        if self.built.reason(precision, self.isa):
            return []
        names = [loop.name for loop in COMPUTE_LOOPS if loop.precision == precision]
        return [name for name in names if name in self.built.libraries and name not in self.refused]

    def compute(self, precision: str, rates: Mapping[str, tuple[float, float]]) -> ComputePeak:
        """Multiply-accumulates in *precision*, by the fastest instruction that there is for them."""
        loops = {loop.name: loop for loop in COMPUTE_LOOPS if loop.precision == precision}
        usable = self.loops(precision)
        if not usable:
            refused = [words for name, words in self.refused.items() if name in loops]
            return ComputePeak(precision=precision, reason=self.built.reason(precision, self.isa) or refused[-1])
        name = max(usable, key=lambda name: rates[name])
        remarks = [
            f"without {loop.instruction}: {words}"
            for loop in loops.values()
            if (words := self.refused.get(loop.name) or self.built.failures.get(loop.name))
        ]
        if not loops[name].tested:
            remarks.append("the loop was written by the documentation, and never run by bakeoff's own tests")
        return ComputePeak(
            precision=precision,
            instruction=loops[name].instruction,
            single_core_gmac_s=rates[name][0],
            all_cores_gmac_s=rates[name][1],
            reason="; ".join(remarks),
        )

    def memory(self, tier: Tier, rates: Mapping[str, tuple[float, float]]) -> TierPeak:
        """Reads and copies of what fits *tier*."""
        facts: dict[str, Any] = {
            "tier": tier.name,
            "capacity_bytes": tier.capacity_bytes,
            "instances": tier.instances,
            "working_set_bytes": tier.working_set_bytes,
        }
        if "MEMORY" not in self.built.libraries:
            return TierPeak(**facts, reason=self.built.failures["MEMORY"])
        read, update, *copies = (rates[f"{how}:{tier.name}"] for how in MEMORY_WORKS)
        return TierPeak(
            **facts,
            read_single_core_gbytes_s=read[0],
            read_all_cores_gbytes_s=read[1],
            copy_single_core_gbytes_s=max(one for one, _ in copies),
            copy_all_cores_gbytes_s=max(every for _, every in copies),
            update_single_core_gbytes_s=update[0],
            update_all_cores_gbytes_s=update[1],
        )


@dataclass(frozen=True, kw_only=True)
class _Window:
    """How long, and by which clock, a rate is measured."""

    seconds: float
    clock: Literal["seconds", "cpu_seconds"]


_LIBRARY_KINDS = ("gemm", "copy")
_LIBRARY = _Window(seconds=0.06, clock="seconds")
_ROOF = _Window(seconds=0.02, clock="cpu_seconds")
"""A roof has to be the best that can be: what a core does while other processes have it does not count against it.

On a shared machine moments in which a core is all ours are short, so windows are, too, and there are many.
"""
_FEWEST_ROUNDS, _MOST_ROUNDS = 12, 64
"""Windows of each kind; after the fewest there are no more of a kind once another one confirmed the best."""


class _PeaksWorker:
    """One process of `peaks_worker`."""

    def __init__(self, core: int, settings: Mapping[str, object]) -> None:
        self._core = core
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bakeoff.harness.peaks_worker", str(core), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONSAFEPATH": "1"},
        )
        self._deadline = threading.Timer(LIMIT_S, self._process.kill)
        self._deadline.daemon = True
        self._deadline.start()

    def __enter__(self) -> _PeaksWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._deadline.cancel()
        self._process.kill()
        self._process.communicate()

    def ask(self, request: str) -> None:
        """Send one request; a process that is gone is found when its answer is read."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(request + "\n")
                self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Read one answer. Raises WorkerError if the process has ended instead."""
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if line:
            return dict(json.loads(line))
        errors = self._process.communicate()[1]
        raise WorkerError(
            f"the process that measures core {self._core} ended with code {self._process.returncode}",
            stage="peaks",
            stderr_tail=errors[-2000:],
        )


def _rates(workers: Sequence[_PeaksWorker], kind: str, how: _Window) -> list[float]:
    """Giga-units a second that each of *workers* reaches in a window that all share."""
    start = time.monotonic() + START_DELAY_S
    for worker in workers:
        worker.ask(f"{kind} {start} {how.seconds}")
    return [one["work"] / one[how.clock] / 1e9 for one in [worker.answer() for worker in workers]]


def _confirmed(rates: Sequence[float]) -> bool:
    """Whether another window comes near the best one."""
    second, best = sorted(rates)[-2:]
    return second >= CONFIRMED * best


def _copy_bytes(cores: Sequence[int]) -> int:
    """Size of the array that each process copies: beyond the caches, and all together an eighth of memory at most."""
    last_level = max(core_caches(cores[-1]).values(), default=32 * 2**20)
    affordable = psutil.virtual_memory().available // (16 * len(cores))
    least, greatest = COPY_BYTES
    return int(min(max(least, COPY_CACHES * last_level), greatest, max(least, affordable)))
