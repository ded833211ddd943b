"""bakeoff's own bars, printed as ratios. Run it on a quiet machine: `tox -e bench`, or `tox -e bench -- NAME...`.

Each bar prints what was measured beside what is wanted; the exit code is 1 if one was missed. Figures of different
processes are always taken in turn, never one after the other.
"""

from __future__ import annotations

import math
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from bakeoff.harness.cores import choose_cores, usable_cores
from bakeoff.harness.hostlock import hold_host
from bakeoff.harness.live import LiveCell
from bakeoff.harness.timing import Rotation, run_block

sys.path.insert(0, str(Path(__file__).parent))
import pages
import profiles
import variants
import winograd
from journeys import default_run, killed_runs
from lab import BareLoop, Bench, alternate, bench

ROUNDS = 40
PAIRS = 12
TURNS = 15
OWN_BLOCKS = 12
STEADY = 0.03
"""How far two medians of one session may lie apart, a few seconds between them, on a machine that is quiet."""
BACKENDS = ("eager", "onnxruntime", "openvino", "inductor", "litert", "tvm")


def say(bar: str, value: float, wanted: str, met: bool) -> bool:
    """Print one line of the result."""
    print(f"{'met   ' if met else 'MISSED'}  {bar}: {value:.4g} (wanted: {wanted})", flush=True)
    return met


def block_of(cell: LiveCell) -> Callable[[], list[int]]:
    """One block of a live cell, as nanoseconds."""

    def take() -> list[int]:
        cell.take_block()
        return cell.blocks_ns[-1]

    return take


def bare() -> bool:
    """Cell median against a bare hand-written loop of the same runtime in the same process layout: within 1%."""
    met = True
    with bench("mobilenet_v2", ("onnxruntime", "openvino"), (1, 2)) as made:
        for runtime in ("onnxruntime", "openvino"):
            for threads in (1, 2):
                ratio, spread = _against(made, runtime, runtime, threads)
                met &= say(
                    f"cell over bare {runtime} loop, {threads} threads (±{spread:.4f})",
                    ratio,
                    "0.99-1.01",
                    abs(ratio - 1) <= 0.01,
                )
    return met


def _against(made: Bench, backend: str, runtime: str, threads: int) -> tuple[float, float]:
    """Geometric mean of the ratio cell / bare loop over pairs of fresh processes, and half its 95% interval.

    Where a process happens to lie in memory is worth one or two per cent, so one pair says little; and of two alike the
    one that started first was seen to be the slower by as much, so they start in turn.
    """
    logs = []
    for pair in range(PAIRS):
        with ExitStack() as stack:
            early = BareLoop(runtime, made, threads, stack) if pair % 2 else None
            cell = made.load(backend, threads, stack)
            loop = early or BareLoop(runtime, made, threads, stack)
            loop_block = partial(loop.take, cell.calls, cell.settle)
            logs.append(math.log(statistics.median(alternate(block_of(cell), loop_block, ROUNDS))))
    # Two pairs with either order make one observation.
    twos = [statistics.mean(two) for two in zip(logs[::2], logs[1::2], strict=True)]
    return math.exp(statistics.mean(twos)), 1.96 * statistics.stdev(twos) / len(twos) ** 0.5


def overhead() -> bool:
    """What the harness adds to each call: a session that does nothing, under the same clock."""
    output = [np.zeros(10, dtype=np.float32)]
    rotation = Rotation([(np.zeros((1, 3, 224, 224), dtype=np.float32),) for _ in range(4)])
    times = run_block(lambda _feeds: output, rotation, 20_000, frozenset({0})).times_ns
    median_us = statistics.median(times) / 1e3
    return say("harness overhead in each sample, us", median_us, "under 5", median_us < 5)


def group() -> bool:
    """A cell on all cores in a group of all backends against the same cell alone: within 3%."""
    met = True
    threads = len(usable_cores())
    with bench("mobilenet_v2", BACKENDS, (threads,)) as made:
        for backend in BACKENDS:
            ratio, spread = _group_over_alone(made, backend, threads)
            met &= say(
                f"{backend} in the whole group over alone, {threads} threads (±{spread:.4f})",
                ratio,
                "0.97-1.03",
                abs(ratio - 1) <= 0.03,
            )
    return met


def _group_over_alone(made: Bench, backend: str, threads: int) -> tuple[float, float]:
    """Blocks with the other workers' blocks in between, and blocks without, in turn: the ratio, and half its interval.

    The machine drifts by more than the bar allows within minutes, so each turn gives a ratio of its own.
    """
    with ExitStack() as stack:
        cells = {name: made.load(name, threads, stack) for name in BACKENDS}
        own, others = cells[backend], [cell for name, cell in cells.items() if name != backend]
        logs = []
        for _ in range(ROUNDS):
            grouped: list[int] = []
            alone: list[int] = []
            for _ in range(2):
                for other in others:
                    other.take_block()
                grouped += block_of(own)()
                block_of(own)()
                alone += block_of(own)()
            logs.append(math.log(np.median(grouped) / np.median(alone)))
    return math.exp(statistics.median(logs)), 1.96 * 1.25 * statistics.stdev(logs) / len(logs) ** 0.5


def vendors() -> bool:
    """ORT as onnxruntime_perf_test runs it, OpenVINO by benchmark_app: same file, threads, interleaved, within 3%."""
    met = True
    with bench("mobilenet_v2", ("onnxruntime", "openvino"), (1, 2)) as made:
        for threads in (1, 2):
            ratio, _ = _against(made, "onnxruntime", "onnxruntime-binding", threads)
            met &= say(
                f"onnxruntime over a perf_test-like loop, {threads} threads", ratio, "0.97-1.03", abs(ratio - 1) <= 0.03
            )
            ratio = _against_benchmark_app(made, threads)
            met &= say(f"openvino over benchmark_app, {threads} threads", ratio, "0.97-1.03", abs(ratio - 1) <= 0.03)
    return met


def _against_benchmark_app(made: Bench, threads: int) -> float:
    """Median ratio over fresh processes on the same inputs: each of the tool's between two halves of a cell of ours.

    The tool cannot be stopped for single blocks, and machines drift by more than the bar allows within seconds: where
    the halves differ by more than that, the turn tells nothing, and is taken anew.
    """
    folder = made.scratch / "inputs"
    folder.mkdir(exist_ok=True)
    with np.load(made.subject.io, allow_pickle=False) as stored:
        for name in sorted(name for name in stored.files if name.startswith("input_")):
            np.save(folder / f"{name}.npy", stored[name])
    ratios: list[float] = []
    turns = 0
    while len(ratios) < TURNS and turns < 5 * TURNS:
        turns += 1
        with ExitStack() as stack:
            cell = made.load("openvino", threads, stack)
            before = _own_median_ms(cell)
            app = _benchmark_app(made, threads)
            after = _own_median_ms(cell)
        if abs(math.log(after / before)) <= STEADY:
            ratios.append(math.sqrt(before * after) / app)
    print(f"        {len(ratios)} steady turns of {turns}: {', '.join(f'{ratio:.3f}' for ratio in sorted(ratios))}")
    return statistics.median(ratios) if len(ratios) == TURNS else math.nan


def _own_median_ms(cell: LiveCell) -> float:
    times: list[int] = []
    for _ in range(OWN_BLOCKS):
        times += block_of(cell)()
    return statistics.median(times) / 1e6


def _benchmark_app(made: Bench, threads: int) -> float:
    """Median time of a call in ms by OpenVINO's own tool, its inputs changing from call to call as a cell's do.

    Its latencies begin when the request has started already, 0.2 ms into the call; what they leave out is the
    difference between its whole duration and their sum, and is put back.
    """
    cores = ",".join(str(core) for core in choose_cores(threads, usable_cores()))
    command = ["taskset", "-c", cores, str(Path(sys.executable).with_name("benchmark_app"))]
    command += ["-m", str(made.subject.exported.path), "-d", "CPU", "-api", "sync", "-hint", "none", "-t", "2"]
    command += ["-nthreads", str(threads), "-nstreams", "1", "-infer_precision", "f32", "-pin", "NO"]
    # Left to itself it would give images as bytes, and the same one in every call.
    command += ["-ip", "f32", "-i", str(made.scratch / "inputs"), "-inference_only", "False"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.findall(r"(Median|Average|Duration|Count): +([\d.]+)", done.stdout)
    told = {name: float(value) for name, value in found}
    if len(told) < len(("Median", "Average", "Duration", "Count")):
        raise RuntimeError(f"benchmark_app did not tell its latencies: {done.stdout[-2000:]}")
    return told["Median"] + told["Duration"] / told["Count"] - told["Average"]


def start() -> bool:
    """Wall time of the commands that must be instant: median of 15 starts each, in turn."""
    program = str(Path(sys.executable).with_name("bakeoff"))
    wanted = {("--help",): 0.2, ("list", "models"): 0.5}
    times: dict[tuple[str, ...], list[float]] = {words: [] for words in wanted}
    for _ in range(15):
        for words, taken in times.items():
            begin = time.perf_counter()
            subprocess.run([program, *words], check=True, capture_output=True)
            taken.append(time.perf_counter() - begin)
    return all(
        [
            say(
                f"bakeoff {' '.join(words)}, s",
                statistics.median(times[words]),
                f"under {limit}",
                statistics.median(times[words]) < limit,
            )
            for words, limit in wanted.items()
        ]
    )


BARS: dict[str, Callable[[], bool]] = {
    "start": start,
    "overhead": overhead,
    "bare": bare,
    "group": group,
    "vendors": vendors,
    "killed": lambda: killed_runs(say, kills=20),
    "default": lambda: default_run(say),
    "speed": lambda: variants.speed(say),
    "agreement": lambda: variants.agreement(say),
    "price": lambda: variants.price(say),
    "repair": lambda: variants.repair(say),
    "twice": lambda: variants.twice(say),
    "sums": lambda: profiles.sums(say),
    "mapping": lambda: profiles.mapping(say),
    "report": lambda: pages.report(say),
    "winograd": lambda: winograd.error(say),
}
_LOCKED = ("bare", "group", "vendors", "overhead", "speed", "sums", "mapping", "report")


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if name not in BARS]
    if unknown:
        print(f"no such bar: {unknown[0]!r}; known: {', '.join(BARS)}")
        return 2
    met = True
    for name in names or BARS:
        if name in _LOCKED:
            with hold_host(print):
                met &= BARS[name]()
        else:
            met &= BARS[name]()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
