"""A process pinned to one core that multiplies matrices or copies memory for a moment when told to.

Started by `peaks` as `python -m bakeoff.harness.peaks_worker CORE COPY_BYTES`. It prints one line of JSON when it is
ready; then each line on its input, "gemm START SECONDS" or "copy START SECONDS" with START in seconds of the
system-wide monotonic clock, is answered by a line with the work done and the seconds that it took. It ends at the end
of its input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

__all__ = ["GEMM_SIZE", "main"]

GEMM_SIZE = 1024
"""Rows and columns of the square fp32 matrices: 12 MB for the three, and 2.1 GFLOP a product."""


def main(arguments: list[str]) -> None:
    """Serve the requests on standard input."""
    core, copy_bytes = int(arguments[0]), int(arguments[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    # After pinning, so that no library starts a thread for a core that is not ours.
    import numpy as np
    from threadpoolctl import threadpool_info, threadpool_limits

    left = np.full((GEMM_SIZE, GEMM_SIZE), 0.5, dtype=np.float32)
    right, product = left.copy(), np.empty_like(left)
    source = np.full(copy_bytes // 8, 1.5)
    copy = source.copy()
    works: dict[str, tuple[Callable[[], object], float]] = {
        "gemm": (lambda: np.matmul(left, right, out=product), 2.0 * GEMM_SIZE**3),
        "copy": (lambda: np.copyto(copy, source), 2.0 * source.nbytes),
    }
    with threadpool_limits(1):
        blas = [
            f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}" for pool in threadpool_info()
        ]
        for work, _ in works.values():
            work()
        _answer({"numpy": np.__version__, "blas": ", ".join(blas).strip()})
        for line in sys.stdin:
            kind, start, seconds = line.split()
            work, amount = works[kind]
            calls, elapsed = _repeat(work, float(start), float(seconds))
            _answer({"work": calls * amount, "seconds": elapsed})


def _repeat(work: Callable[[], object], start: float, seconds: float) -> tuple[int, float]:
    """Do *work* from the moment *start* until *seconds* have passed, at least once."""
    time.sleep(max(0.0, start - time.monotonic()))
    begin = now = time.monotonic()
    calls = 0
    while calls == 0 or now - begin < seconds:
        work()
        calls += 1
        now = time.monotonic()
    return calls, now - begin


def _answer(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
