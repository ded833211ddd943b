"""A process pinned to one core that multiplies, reads or copies for a moment when told to.

Started by `peaks` as `python -m bakeoff.harness.peaks_worker CORE SETTINGS`, where SETTINGS is JSON: `copy_bytes`, the
size of the array that numpy copies; `loops`, libraries of `peak_loops` by name; `tiers`, bytes to work on by tier. It
prints one line of JSON when it is ready, with what the system `refused`; then each line on its input, "KIND START
SECONDS" with START in seconds of the system-wide monotonic clock, is answered by a line with the work done, the seconds
that it took, and the seconds of CPU time. Kinds are "gemm" and "copy" (numpy's), the names of loops, and "HOW:TIER"
with HOW one of `MEMORY_WORKS`. It ends at the end of its input.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GEMM_SIZE", "MEMORY_WORKS", "main"]

GEMM_SIZE = 1024
"""Rows and columns of the square fp32 matrices: 12 MB for the three, and 2.1 GFLOP a product."""
MEMORY_WORKS = ("read_array", "update_array", "copy_array", "copy_libc")
"""Functions of the library "MEMORY"."""
_CALL_MACS = 1e8
"""Multiply-accumulates of one call of a loop: a few milliseconds at most, and many more than the call itself costs."""
_CALL_BYTES = 1e7
_LINE = 512

Work = tuple[Callable[[], object], float]
"""What to call, and how much work a call is."""


def main(arguments: list[str]) -> None:
    """Serve the requests on standard input."""
    core, settings = int(arguments[0]), json.loads(arguments[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    # After pinning, so that no library starts a thread for a core that is not ours.
    from threadpoolctl import threadpool_info, threadpool_limits

    works, facts = _numpy_works(int(settings["copy_bytes"]))
    with threadpool_limits(1):
        blas = [
            f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}" for pool in threadpool_info()
        ]
        loops, refused = _loop_works(settings["loops"], settings["tiers"])
        works |= loops
        for work, _ in works.values():
            work()
        _answer({**facts, "blas": ", ".join(blas).strip(), "refused": refused})
        for line in sys.stdin:
            kind, start, seconds = line.split()
            work, amount = works[kind]
            calls, elapsed, busy = _repeat(work, float(start), float(seconds))
            _answer({"work": calls * amount, "seconds": elapsed, "cpu_seconds": busy})


def _loop_works(loops: Mapping[str, str], tiers: Mapping[str, int]) -> tuple[dict[str, Work], dict[str, str]]:
    """What the libraries *loops* can do, and why some cannot."""
    works: dict[str, Work] = {}
    refused: dict[str, str] = {}
    for name, path in loops.items():
        library = ctypes.CDLL(path)
        error = int(library.prepare())
        if error:
            refused[name] = f"the system does not let a process use these instructions ({os.strerror(error)})"
        elif name == "MEMORY":
            works |= _memory_works(library, tiers)
        else:
            works[name] = _compute_work(library)
    return works, refused


def _numpy_works(copy_bytes: int) -> tuple[dict[str, Work], dict[str, str]]:
    import numpy as np

    left = np.full((GEMM_SIZE, GEMM_SIZE), 0.5, dtype=np.float32)
    right, product = left.copy(), np.empty_like(left)
    source = np.full(copy_bytes // 8, 1.5)
    copy = source.copy()
    works: dict[str, Work] = {
        "gemm": (lambda: np.matmul(left, right, out=product), 2.0 * GEMM_SIZE**3),
        "copy": (lambda: np.copyto(copy, source), 2.0 * source.nbytes),
    }
    return works, {"numpy": np.__version__}


def _compute_work(library: ctypes.CDLL) -> Work:
    """Multiply-accumulates in registers."""
    macs = ctypes.c_uint64.in_dll(library, "macs_per_round").value
    rounds = max(1, int(_CALL_MACS / macs))
    library.run.argtypes, library.run.restype = [ctypes.c_uint64], None
    return lambda: library.run(rounds), float(rounds * macs)


def _memory_works(library: ctypes.CDLL, tiers: Mapping[str, int]) -> dict[str, Work]:
    """Bytes that are read, or read and written, by tier; all of them in two arrays as large as the largest tier."""
    largest = max(tiers.values(), default=0)
    whole, other = _aligned(largest), _aligned(largest // 2)
    works: dict[str, Work] = {}
    for tier, size in tiers.items():
        half = size // 2 // _LINE * _LINE
        works[f"read_array:{tier}"] = _memory_work(library.read_array, [whole], 2 * half, 1)
        for name in ("copy_array", "copy_libc"):
            works[f"{name}:{tier}"] = _memory_work(getattr(library, name), [other, whole], half, 2)
        works[f"update_array:{tier}"] = _memory_work(library.update_array, [other, whole], half, 3)
    return works


def _memory_work(function: Any, arrays: list[NDArray[np.uint8]], size: int, moved: int) -> Work:
    """A call of *function* on the first *size* bytes of *arrays*, of which each byte counts *moved* times."""
    rounds = max(1, int(_CALL_BYTES / (size * moved)))
    function.argtypes = [*(ctypes.c_void_p for _ in arrays), ctypes.c_uint64, ctypes.c_uint64]
    function.restype = None
    # The default arguments keep the arrays alive: a pointer does not.
    pointers = [array.ctypes.data for array in arrays]
    return lambda kept=arrays: function(*pointers, size, rounds), float(size * moved * rounds)


def _aligned(size: int) -> NDArray[np.uint8]:
    """*size* bytes from the beginning of a page, none of them zero (a page of zeros may be shared)."""
    import numpy as np

    page = 4096
    memory = np.full(size + page, 0x3A, dtype=np.uint8)
    first = -memory.ctypes.data % page
    return memory[first : first + size]


def _repeat(work: Callable[[], object], start: float, seconds: float) -> tuple[int, float, float]:
    """Do *work* from the moment *start* until *seconds* have passed, at least once; how often, how long, CPU time."""
    time.sleep(max(0.0, start - time.monotonic()))
    busy = time.process_time()
    begin = now = time.monotonic()
    calls = 0
    while calls == 0 or now - begin < seconds:
        work()
        calls += 1
        now = time.monotonic()
    return calls, now - begin, time.process_time() - busy


def _answer(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
