"""What the target's cores and memory can do at best, measured.

One pinned, single-threaded process for each core does the work, in many short visits, and the best moments in them
count (`peak_windows`). There are two kinds of figures. Matrix products and copies by numpy are what a well-written
library reaches; a convolution can be a little faster than the best matrix product. Multiply-adds in registers, and
reads, copies and updates in each level of the memory, are roofs: nothing that runs on these cores exceeds them.
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
from typing import Any

import numpy as np
import psutil

from ..models.errors import WorkerError
from ..reports.peak_figures import differences
from ..reports.results import ComputePeak, Peaks, TierPeak
from .cores import cache_instances, core_caches
from .isa import cpu_facts, isa_features
from .peak_loops import COMPUTE_LOOPS, PRECISIONS, BuiltLoops, build_loops
from .peak_tiers import Tier, plan_tiers
from .peak_windows import WINDOW_S, Series, Visit
from .peaks_worker import GEMM_SIZE, MEMORY_WORKS

__all__ = ["QUICK", "THOROUGH", "UNSETTLED_PERCENT", "Effort", "measure_peaks"]

SETTLED_PERCENT = 2.0
"""A rate has settled once the first and the second half of the visits tell the same within this."""
UNSETTLED_PERCENT = 5.0
"""Where they differ by more in the end, it is said."""
VISIT_S = 0.006
"""Some two dozen windows, and soon over: a visit says little more of its own moment if it is longer."""
START_DELAY_S, START_DELAY_EACH_S = 0.002, 0.0001
"""Time for all processes to read the request before their common start, and for each one."""
SPARE_S = 120.0
"""A process that is not done by so much after its time is killed, and nothing is measured."""
COPY_CACHES = 2
"""A copied array is this many times as large as the last-level cache, so that memory is measured."""
COPY_BYTES = (16 * 2**20, 256 * 2**20)
"""Least and greatest size of a copied array."""

Rates = Mapping[str, tuple[float, float]]
"""By kind of work, giga-units a second of one core and of all."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is done for the figures."""

    fewest_visits: int
    """Of each kind of work, one core's and all cores' counted once."""
    enough_s: float
    """What has not settled after this time is left so."""


QUICK = Effort(fewest_visits=24, enough_s=30.0)
"""Where other work waits for it: some ten seconds on a machine of one's own."""
THOROUGH = Effort(fewest_visits=160, enough_s=180.0)
"""A minute or more: what other tenants of the machine take from us changes in such times."""


def measure_peaks(cores: Sequence[int], effort: Effort = QUICK) -> Peaks:
    """Measure on *cores*.

    Single-core figures are those of the last of *cores* alone, or of any beside the others, whichever is greater: the
    first is where other work tends to run. Raises WorkerError if a process cannot do it.
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
        workers = [stack.enter_context(_PeaksWorker(core, settings, effort.enough_s + SPARE_S)) for core in cores]
        facts = [worker.answer() for worker in workers][-1]
        bench = _Bench(workers=workers, built=built, isa=isa, refused=facts["refused"])
        series = bench.visit(bench.kinds(tiers), effort)
    method = (
        f"one pinned process per core, {len(cores)} in all; second best of many visits of {1000 * VISIT_S:g} "
        f"ms, of each the best {1000 * WINDOW_S:g} ms: numpy {facts['numpy']} ({facts['blas']}): "
        f"products of {GEMM_SIZE}x{GEMM_SIZE} matrices, copies of {size // 2**20} MB arrays, bytes read plus bytes "
        f"written; roofs: loops compiled by {built.compiler or 'no compiler'}"
    )

    halves = [bench.peaks({kind: one.half(which) for kind, one in series.items()}, tiers) for which in (0, 1)]
    unsettled = differences(*halves, above_percent=UNSETTLED_PERCENT)
    return bench.peaks(series, tiers).model_copy(update={"cores": len(cores), "method": method, "unsettled": unsettled})


def _giga(rates: tuple[float, float]) -> tuple[float, float]:
    one, every = rates
    return round(one / 1e9, 2), round(every / 1e9, 2)


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """Processes that are ready to measure."""

    workers: Sequence[_PeaksWorker]
    built: BuiltLoops
    isa: Sequence[str]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Loops whose instructions the system does not allow, and what it says."""

    def kinds(self, tiers: Sequence[Tier]) -> dict[str, bool]:
        """What can be measured, and whether it may be that each core does it unhindered by the others."""
        kinds = {"gemm": True, "copy": False}
        kinds |= {name: True for precision in PRECISIONS for name in self.loops(precision)}
        if "MEMORY" in self.built.libraries:
            kinds |= {f"{how}:{tier.name}": tier.capacity_bytes is not None for tier in tiers for how in MEMORY_WORKS}
        return kinds

    def visit(self, kinds: Mapping[str, bool], effort: Effort) -> dict[str, Series]:
        """Visits of each of *kinds*, as `kinds` tells them.

        All kinds have their visits in turn: where a machine is slow for some seconds none of them is for all of its
        own. Those that have settled have no more.
        """
        counts = sorted({1, len(self.workers)})
        series = {kind: Series(apart=apart) for kind, apart in kinds.items()}
        open_kinds, rounds = list(kinds), 0
        end = time.monotonic() + effort.enough_s
        while open_kinds and (not rounds or time.monotonic() < end):
            for kind in open_kinds:
                for count in counts:
                    series[kind].add(_visits(self.workers[-count:], kind))
            rounds += 1
            if rounds >= effort.fewest_visits:
                open_kinds = [kind for kind in open_kinds if not series[kind].settled(SETTLED_PERCENT)]
        return series

    def peaks(self, series: Mapping[str, Series], tiers: Sequence[Tier]) -> Peaks:
        """What *series* tell, by its names."""
        rates = {kind: _giga(one.rates()) for kind, one in series.items()}
        gemm, copied = rates["gemm"], rates["copy"]
        return Peaks(
            gemm_fp32_single_core_gflops=gemm[0],
            gemm_fp32_all_cores_gflops=gemm[1],
            copy_bandwidth_single_core_gbytes_s=copied[0],
            copy_bandwidth_all_cores_gbytes_s=copied[1],
            compute=tuple(self.compute(precision, rates) for precision in PRECISIONS),
            tiers=tuple(self.memory(tier, rates) for tier in tiers),
        )

    def loops(self, precision: str) -> list[str]:
        """Names of the loops for *precision* that can run."""
        if self.built.reason(precision, self.isa):
            return []
        names = [loop.name for loop in COMPUTE_LOOPS if loop.precision == precision]
        return [name for name in names if name in self.built.libraries and name not in self.refused]

    def compute(self, precision: str, rates: Rates) -> ComputePeak:
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

    def memory(self, tier: Tier, rates: Rates) -> TierPeak:
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


class _PeaksWorker:
    """One process of `peaks_worker`."""

    def __init__(self, core: int, settings: Mapping[str, object], limit_s: float) -> None:
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
        self._deadline = threading.Timer(limit_s, self._process.kill)
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


def _visits(workers: Sequence[_PeaksWorker], kind: str) -> list[Visit]:
    """One visit of each of *workers*, all at the same time."""
    start = time.monotonic() + START_DELAY_S + START_DELAY_EACH_S * len(workers)
    for worker in workers:
        worker.ask(f"{kind} {start} {VISIT_S}")
    answers = [worker.answer() for worker in workers]
    return [Visit(amount=answer["amount"], ends_s=np.array(answer["ends_s"])) for answer in answers]


def _copy_bytes(cores: Sequence[int]) -> int:
    """Size of the array that each process copies: beyond the caches, and all together an eighth of memory at most."""
    last_level = max(core_caches(cores[-1]).values(), default=32 * 2**20)
    affordable = psutil.virtual_memory().available // (16 * len(cores))
    least, greatest = COPY_BYTES
    return int(min(max(least, COPY_CACHES * last_level), greatest, max(least, affordable)))
