"""A process pinned to one core that multiplies, reads or copies for a moment when told to.

Started by `peaks` as `python -m bakeoff.harness.peaks_worker CORE SETTINGS`, where SETTINGS is JSON: `copy_bytes`, the
size of the array that numpy copies; `loops`, libraries of `peak_loops` by name; `tiers`, bytes to work on by tier. It
prints one line of JSON when it is ready, with what the system `refused`; then each line on its input, "KIND START
SECONDS" with START in seconds of the system-wide monotonic clock, is answered by a line with the `amount` of work of
one call and `ends_s`: when work began and each call ended, by that clock. Kinds are "gemm" and "copy" (numpy's), the
names of loops, and "HOW:TIER" with HOW one of `MEMORY_WORKS`. It ends at the end of its input.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GEMM_SIZE", "MEMORY_WORKS", "main"]

GEMM_SIZE = 512
"""Rows and columns of the square fp32 matrices: 3 MB for the three, and 0.27 GFLOP a product."""
MEMORY_WORKS = ("read_array", "update_array", "copy_array", "copy_libc")
"""Functions of the library "MEMORY"."""
_CALL_S = 1e-4
"""A call takes one to two times as long, where its work can be repeated or divided: it takes a hundredth of that to
make it, and a window has more than one."""
_LINE = 512
_HUGE_PAGE = 2 * 2**20
_APART = 2048
"""Between the target and the source of a copy. Processors take a read for one of what was just written to where the
last twelve bits of the address are the same; this keeps them half of that apart."""
_AWAKE_S = 0.0005
"""A process that slept is awake for so long before the start."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One kind of work."""

    places: Iterator[Callable[[], object]]
    """What to call throughout a visit; the next one is for the next visit, somewhere else in memory if it is small."""
    amount: float
    """How much work a call is."""


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
        for work in works.values():
            next(work.places)()
        _answer({**facts, "blas": ", ".join(blas).strip(), "refused": refused})
        for line in sys.stdin:
            kind, start, seconds = line.split()
            work = works[kind]
            _answer({"amount": work.amount, "ends_s": _repeat(next(work.places), float(start), float(seconds))})


def _loop_works(loops: Mapping[str, str], tiers: Mapping[str, int]) -> tuple[dict[str, _Work], dict[str, str]]:
    """What the libraries *loops* can do, and why some cannot."""
    works: dict[str, _Work] = {}
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


def _numpy_works(copy_bytes: int) -> tuple[dict[str, _Work], dict[str, str]]:
    import numpy as np

    left = np.full((GEMM_SIZE, GEMM_SIZE), 0.5, dtype=np.float32)
    right, product = left.copy(), np.empty_like(left)
    source = np.full(copy_bytes // 8, 1.5)
    copy = source.copy()
    works = {
        "gemm": _anywhere(lambda: np.matmul(left, right, out=product), 2.0 * GEMM_SIZE**3),
        "copy": _anywhere(lambda: np.copyto(copy, source), 2.0 * source.nbytes),
    }
    return works, {"numpy": np.__version__}


def _compute_work(library: ctypes.CDLL) -> _Work:
    """Multiply-accumulates in registers."""
    macs = ctypes.c_uint64.in_dll(library, "macs_per_round").value
    library.run.argtypes, library.run.restype = [ctypes.c_uint64], None
    rounds = _rounds(library.run)
    return _anywhere(lambda: library.run(rounds), float(rounds * macs))


def _anywhere(call: Callable[[], object], amount: float) -> _Work:
    return _Work(places=itertools.repeat(call), amount=amount)


def _memory_works(library: ctypes.CDLL, tiers: Mapping[str, int]) -> dict[str, _Work]:
    """Bytes that are read, or read and written, by tier, all of them in one stretch of memory.

    Source and target of a copy are neighbours that together are as large as the tier's working set.
    """
    stretch = _stretch(max(tiers.values(), default=0) + _APART)
    works: dict[str, _Work] = {}
    for tier, size in tiers.items():
        half = size // 2 // _LINE * _LINE
        step = -(-(size + _APART) // _HUGE_PAGE) * _HUGE_PAGE
        begins = range(stretch.ctypes.data, stretch.ctypes.data + max(1, len(stretch) - size - _APART), step)
        both = [(begin, begin + half + _APART) for begin in begins]
        works[f"read_array:{tier}"] = _memory_work(library.read_array, [(one,) for one in begins], 2 * half, 1, stretch)
        works[f"update_array:{tier}"] = _memory_work(library.update_array, both, half, 3, stretch)
        for name in ("copy_array", "copy_libc"):
            works[f"{name}:{tier}"] = _memory_work(getattr(library, name), both, half, 2, stretch)
    return works


def _memory_work(function: Any, places: Sequence[tuple[int, ...]], size: int, moved: int, kept: object) -> _Work:
    """Calls of *function* for *size* bytes from where each of *places* begins, of which each byte counts *moved* times.

    What takes long is done in pieces, one after the other. *kept* is what must live as long as the work does.
    """
    function.argtypes = [*(ctypes.c_void_p for _ in places[0]), ctypes.c_uint64, ctypes.c_uint64]
    function.restype = None
    piece = size
    while piece % (2 * _LINE) == 0 and _seconds(function, *places[0], piece, 1) > 2 * _CALL_S:
        piece //= 2
    rounds = _rounds(function, *places[0], size) if piece == size else 1

    def calls(begins: tuple[int, ...]) -> Callable[[], object]:
        offsets = range(0, size, piece)
        pieces = itertools.cycle([(*(begin + offset for begin in begins), piece, rounds) for offset in offsets])

        def call(_: object = kept) -> None:
            function(*next(pieces))

        return call

    return _Work(places=itertools.cycle([calls(begins) for begins in places]), amount=float(piece * moved * rounds))


def _rounds(function: Callable[..., object], *arguments: int) -> int:
    """How many rounds, the last argument of *function*, take as long as a call should."""
    rounds = 1
    while _seconds(function, *arguments, rounds) < _CALL_S:
        rounds *= 2
    return rounds


def _seconds(function: Callable[..., object], *arguments: int) -> float:
    """How long a call of *function* takes, the best of five."""
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        function(*arguments)
        taken.append(time.perf_counter() - begin)
    return min(taken)


def _stretch(size: int) -> NDArray[np.uint8]:
    """*size* bytes from the beginning of a huge page, in huge pages where the system has them, none of them zero.

    Small pages lie anywhere in physical memory. How evenly they fill a cache's sets is a matter of luck, which would
    make the rates of a process up to a fifth lower than those of the next. What is small is worked on at many places
    for the same reason: a virtual machine's huge pages may be small ones of its host.
    """
    import numpy as np

    memory = mmap.mmap(-1, size + _HUGE_PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, dtype=np.uint8)
    first = -whole.ctypes.data % _HUGE_PAGE
    stretch = whole[first : first + size]
    # A page of zeros may be shared by all that have one.
    stretch[:] = 0x3A
    return stretch


def _repeat(work: Callable[[], object], start: float, seconds: float) -> list[float]:
    """Do *work* from the moment *start* until *seconds* have passed, at least once: when it began, and each end."""
    time.sleep(max(0.0, start - time.monotonic() - _AWAKE_S))
    while time.monotonic() < start:
        pass
    ends = [time.monotonic()]
    while len(ends) == 1 or ends[-1] - ends[0] < seconds:
        work()
        ends.append(time.monotonic())
    return ends


def _answer(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
