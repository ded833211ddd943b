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
from typing import Any

import psutil
from pydantic import ValidationError

from ..models.errors import WorkerError
from ..reports.results import ComputePeak, Peaks, TierPeak
from .cores import cache_instances, core_caches
from .folders import data_folder, write_atomically
from .isa import cpu_facts, isa_features
from .peak_loops import COMPUTE_LOOPS, PRECISIONS, BuiltLoops, build_loops
from .peak_tiers import Tier, plan_tiers
from .peaks_worker import GEMM_SIZE, MEMORY_WORKS

__all__ = ["load_peaks", "measure_peaks", "save_peaks", "target_peaks"]

WINDOWS = 3
WINDOW_S = 0.12
ROOF_WINDOWS = (4, 24)
ROOF_WINDOW_S = 0.05
"""A roof has to be the best that can be, and a window that was disturbed tells less: after the first four, windows go
on until the best one is confirmed by another, or there have been 24."""
CONFIRMED = 0.98
"""... which is one that comes as near to it."""
START_DELAY_S = 0.01
"""Time for all processes to read the request before their common start."""
LIMIT_S = 300.0
"""A process that has not done all within this time is killed, and nothing is measured."""
COPY_CACHES = 4
"""A copied array is this many times as large as the last-level cache, so that memory is measured."""
COPY_BYTES = (16 * 2**20, 256 * 2**20)
"""Least and greatest size of a copied array."""


def target_peaks(target_id: str, cores: Sequence[int], *, remeasure: bool = False, folder: Path | None = None) -> Peaks:
    """Peaks of the target *target_id*: those kept from an earlier run, else measured on *cores* now and kept.

    Hold the host's measuring lock around it. Raises WorkerError as `measure_peaks` does, OSError if they cannot be
    kept.
    """
    kept = None if remeasure else load_peaks(target_id, folder)
    if kept is not None:
        return kept
    peaks = measure_peaks(cores)
    save_peaks(target_id, peaks, folder)
    return peaks


def load_peaks(target_id: str, folder: Path | None = None) -> Peaks | None:
    """The peaks kept for *target_id* below *folder* (by default bakeoff's data folder); None if there are none.

    Those that an earlier version kept without roofs count as none.
    """
    try:
        kept = Peaks.model_validate_json(_file(target_id, folder).read_bytes())
    except (OSError, ValidationError):
        return None
    return kept if kept.compute else None


def save_peaks(target_id: str, peaks: Peaks, folder: Path | None = None) -> None:
    """Keep *peaks* for *target_id*. Raises OSError if they cannot be written."""
    write_atomically(_file(target_id, folder), peaks.model_dump_json(indent=1).encode())


def measure_peaks(cores: Sequence[int]) -> Peaks:
    """Measure on *cores*, for half a minute; see `Peaks` for what.

    The single-core figures are those of the last of *cores*, since the first is where other work tends to run.
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
        gemm, copied = bench.numpy("gemm"), bench.numpy("copy")
        compute = tuple(bench.compute(precision) for precision in PRECISIONS)
        memory = tuple(bench.memory(tier) for tier in tiers)
    return Peaks(
        gemm_fp32_single_core_gflops=gemm[0],
        gemm_fp32_all_cores_gflops=gemm[1],
        copy_bandwidth_single_core_gbytes_s=copied[0],
        copy_bandwidth_all_cores_gbytes_s=copied[1],
        compute=compute,
        tiers=memory,
        cores=len(cores),
        method=(
            f"numpy {facts['numpy']} ({facts['blas']}), one pinned process per core, best of {WINDOWS} windows of "
            f"{WINDOW_S} s; products of {GEMM_SIZE}x{GEMM_SIZE} matrices; copies of {size // 2**20} MB arrays, bytes "
            f"read plus bytes written; all cores = {len(cores)}; roofs: loops compiled by "
            f"{built.compiler or 'no compiler'}, best of {ROOF_WINDOWS[0]} to {ROOF_WINDOWS[1]} windows of "
            f"{ROOF_WINDOW_S} s"
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

    def numpy(self, kind: str) -> tuple[float, float]:
        """Giga-units a second of numpy's work, on one core and on all."""
        one = _best_rate(self.workers[-1:], kind, (WINDOWS, WINDOWS), WINDOW_S)
        return one, _best_rate(self.workers, kind, (WINDOWS, WINDOWS), WINDOW_S) if len(self.workers) > 1 else one

    def best(self, kinds: Sequence[str]) -> tuple[str, float, float]:
        """The fastest of *kinds* on one core, its rate there, and the rate on all cores."""
        rates = {kind: _best_rate(self.workers[-1:], kind, ROOF_WINDOWS, ROOF_WINDOW_S) for kind in kinds}
        kind = max(rates, key=lambda name: rates[name])
        many = len(self.workers) > 1
        every = _best_rate(self.workers, kind, ROOF_WINDOWS, ROOF_WINDOW_S) if many else rates[kind]
        return kind, rates[kind], every

    def compute(self, precision: str) -> ComputePeak:
        """Multiply-accumulates in *precision*, by the fastest instruction that there is for them."""
        reason = self.built.reason(precision, self.isa)
        loops = {loop.name: loop for loop in COMPUTE_LOOPS if loop.precision == precision}
        compiled = [name for name in loops if name in self.built.libraries]
        usable = [name for name in compiled if name not in self.refused]
        if reason or not usable:
            refused = self.refused[compiled[-1]] if compiled else ""
            return ComputePeak(precision=precision, reason=reason or refused)
        name, one, every = self.best(usable)
        left_out = [
            f"without {loop.instruction}: {words}"
            for loop in loops.values()
            if (words := self.refused.get(loop.name) or self.built.failures.get(loop.name))
        ]
        if not loops[name].tested:
            left_out.append("the loop was written by the documentation, and never run by bakeoff's own tests")
        return ComputePeak(
            precision=precision,
            instruction=loops[name].instruction,
            single_core_gmac_s=one,
            all_cores_gmac_s=every,
            reason="; ".join(left_out),
        )

    def memory(self, tier: Tier) -> TierPeak:
        """Reads and copies of what fits *tier*."""
        facts: dict[str, Any] = {
            "tier": tier.name,
            "capacity_bytes": tier.capacity_bytes,
            "instances": tier.instances,
            "working_set_bytes": tier.working_set_bytes,
        }
        if "MEMORY" not in self.built.libraries:
            return TierPeak(**facts, reason=self.built.failures["MEMORY"])
        read, *copies = (f"{how}:{tier.name}" for how in MEMORY_WORKS)
        _, read_one, read_all = self.best([read])
        _, copy_one, copy_all = self.best(copies)
        return TierPeak(
            **facts,
            read_single_core_gbytes_s=read_one,
            read_all_cores_gbytes_s=read_all,
            copy_single_core_gbytes_s=copy_one,
            copy_all_cores_gbytes_s=copy_all,
        )


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


def _best_rate(workers: Sequence[_PeaksWorker], kind: str, windows: tuple[int, int], window_s: float) -> float:
    """Giga-units a second that *workers* reach together, in the best of several windows.

    Of the fewest of *windows*, if another one confirms the best, else of more, up to the most.
    """
    fewest, most = windows
    rates: list[float] = []
    while len(rates) < most:
        start = time.monotonic() + START_DELAY_S
        for worker in workers:
            worker.ask(f"{kind} {start} {window_s}")
        answers = [worker.answer() for worker in workers]
        rates = sorted([*rates, sum(float(one["work"]) / float(one["seconds"]) for one in answers)], reverse=True)
        if len(rates) >= max(2, fewest) and rates[1] >= CONFIRMED * rates[0]:
            break
    return round(rates[0] / 1e9, 2)


def _copy_bytes(cores: Sequence[int]) -> int:
    """Size of the array that each process copies: beyond the caches, and all together an eighth of memory at most."""
    last_level = max(core_caches(cores[-1]).values(), default=32 * 2**20)
    affordable = psutil.virtual_memory().available // (16 * len(cores))
    least, greatest = COPY_BYTES
    return int(min(max(least, COPY_CACHES * last_level), greatest, max(least, affordable)))


def _file(target_id: str, folder: Path | None) -> Path:
    return (data_folder() if folder is None else folder) / "peaks" / f"{target_id}.json"
