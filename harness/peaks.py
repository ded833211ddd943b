"""What the target's cores can do at best: fp32 matrix products and memory copies, measured.

One pinned, single-threaded process for each core does the work; the rate of several cores is the sum over processes
that work in the same window of time, and the best of a few windows counts. The figures are rates that a well-written
library reaches, not bounds: a convolution can be a little faster than the best matrix product.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
from pydantic import ValidationError

from ..models.errors import WorkerError
from ..reports.results import Peaks
from .cores import core_caches
from .folders import data_folder, write_atomically
from .peaks_worker import GEMM_SIZE

__all__ = ["load_peaks", "measure_peaks", "save_peaks", "target_peaks"]

WINDOWS = 3
WINDOW_S = 0.12
START_DELAY_S = 0.01
"""Time for all processes to read the request before their common start."""
LIMIT_S = 60.0
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
    """The peaks kept for *target_id* below *folder* (by default bakeoff's data folder); None if there are none."""
    try:
        return Peaks.model_validate_json(_file(target_id, folder).read_bytes())
    except (OSError, ValidationError):
        return None


def save_peaks(target_id: str, peaks: Peaks, folder: Path | None = None) -> None:
    """Keep *peaks* for *target_id*. Raises OSError if they cannot be written."""
    write_atomically(_file(target_id, folder), peaks.model_dump_json(indent=1).encode())


def measure_peaks(cores: Sequence[int]) -> Peaks:
    """Measure on *cores*, for about two seconds: GFLOP/s of fp32 matrix products, GB/s of copies (read plus written).

    The single-core figures are those of the last of *cores*, since the first is where other work tends to run.
    Raises WorkerError if a process cannot do it.
    """
    size = _copy_bytes(cores)
    with ExitStack() as stack:
        workers = [stack.enter_context(_PeaksWorker(core, size)) for core in cores]
        facts = [worker.answer() for worker in workers][-1]
        rates = {
            (kind, count): _best_rate(workers[-count:], kind)
            for kind in ("gemm", "copy")
            for count in sorted({1, len(workers)})
        }
    return Peaks(
        gemm_fp32_single_core_gflops=rates["gemm", 1],
        gemm_fp32_all_cores_gflops=rates["gemm", len(cores)],
        copy_bandwidth_single_core_gbytes_s=rates["copy", 1],
        copy_bandwidth_all_cores_gbytes_s=rates["copy", len(cores)],
        method=(
            f"numpy {facts['numpy']} ({facts['blas']}), one pinned process per core, best of {WINDOWS} windows of "
            f"{WINDOW_S} s; products of {GEMM_SIZE}x{GEMM_SIZE} matrices; copies of {size // 2**20} MB arrays, bytes "
            f"read plus bytes written; all cores = {len(cores)}"
        ),
    )


class _PeaksWorker:
    """One process of `peaks_worker`."""

    def __init__(self, core: int, copy_bytes: int) -> None:
        self._core = core
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bakeoff.harness.peaks_worker", str(core), str(copy_bytes)],
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

    def answer(self) -> dict[str, float | str]:
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


def _best_rate(workers: Sequence[_PeaksWorker], kind: str) -> float:
    """Giga-units a second that *workers* reach together, in the best of several windows."""
    best = 0.0
    for _ in range(WINDOWS):
        start = time.monotonic() + START_DELAY_S
        for worker in workers:
            worker.ask(f"{kind} {start} {WINDOW_S}")
        answers = [worker.answer() for worker in workers]
        best = max(best, sum(float(one["work"]) / float(one["seconds"]) for one in answers))
    return round(best / 1e9, 2)


def _copy_bytes(cores: Sequence[int]) -> int:
    """Size of the array that each process copies: beyond the caches, and all together an eighth of memory at most."""
    last_level = max(core_caches(cores[-1]).values(), default=32 * 2**20)
    affordable = psutil.virtual_memory().available // (16 * len(cores))
    least, greatest = COPY_BYTES
    return int(min(max(least, COPY_CACHES * last_level), greatest, max(least, affordable)))


def _file(target_id: str, folder: Path | None) -> Path:
    return (data_folder() if folder is None else folder) / "peaks" / f"{target_id}.json"
