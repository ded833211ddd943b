"""What the bars share: a model made ready, cells loaded as a run loads them, and a bare loop beside them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bakeoff.backends import registry
from bakeoff.harness.advisers import Advisers
from bakeoff.harness.artifacts import Artifact, CompileRoom, compile_cells
from bakeoff.harness.cores import choose_cores, usable_cores
from bakeoff.harness.live import LiveCell, Prepared, load_cell
from bakeoff.harness.plan import CellSpec
from bakeoff.harness.process import WorkerSettings
from bakeoff.harness.progress import Listener
from bakeoff.harness.subjects import Subject, prepare_subject, resolve_models, variant_request
from bakeoff.harness.suite import Suite, parse_suite
from bakeoff.models.cache import default_cache
from bakeoff.models.errors import CellError

BARE = Path(__file__).with_name("bare_loop.py")


class Quiet:
    """A Listener that says nothing."""

    def plan(self, steps: int) -> None: ...

    def tick(self, words: str) -> None: ...

    def step(self, words: str) -> None: ...

    def say(self, words: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One model in some variants, compiled for some backends and thread counts."""

    suite: Suite
    subjects: dict[str, Subject]
    """By variant."""
    artifacts: dict[str, Artifact | CellError]
    scratch: Path

    @property
    def subject(self) -> Subject:
        """The first variant."""
        return next(iter(self.subjects.values()))

    def cell(self, backend: str, threads: int, variant: str = "fp32") -> CellSpec:
        model = self.suite.matrix.models[0]
        return CellSpec(
            model=model,
            variant=variant,
            backend=backend,
            scenario="single-stream",
            threads=threads,
            batch=1,
            device="cpu",
        )

    def load(self, backend: str, threads: int, stack: ExitStack, variant: str = "fp32") -> LiveCell:
        """A live, warm, stopped cell that ends with *stack*."""
        cell, subject = self.cell(backend, threads, variant), self.subjects[variant]
        artifact = self.artifacts[cell.key]
        if isinstance(artifact, CellError):
            raise artifact
        prepared = Prepared(
            cell=cell,
            artifact=artifact.folder,
            artifact_id=artifact.id,
            artifact_bytes=artifact.size_bytes,
            compile_s=artifact.compile_s,
            compile_cached=artifact.cached,
            inputs=subject.io,
            input_count=subject.input_count,
            reference=subject.reference,
            tolerance=subject.tolerance,
            evaluation=subject.evaluation,
        )
        settings = WorkerSettings(cores=choose_cores(threads, usable_cores()), threads=threads)
        return load_cell(
            prepared,
            settings,
            Path(tempfile.mkstemp(dir=self.scratch, suffix=".log")[1]),
            measure=self.suite.measure,
            time_limit_s=1e9,
            twin=False,
            started=lambda worker: stack.callback(worker.kill),
        )


@contextmanager
def bench(
    model: str,
    backends: Sequence[str],
    threads: Sequence[int],
    *,
    weights: str = "random",
    variants: Sequence[str] = ("fp32",),
    data: str = "",
) -> Iterator[Bench]:
    """*model* in *variants*, compiled for *backends* at *threads*; evaluated on *data*, by default its own."""
    names = ", ".join(f'"{name}"' for name in backends)
    text = (
        f'name = "bench"\n[matrix]\nmodels = ["{model}"]\nbackends = [{names}]\nthreads = {list(threads)}\n'
        f'[models."{model}"]\nweights = "{weights}"\n'
    )
    if data:
        text += f'data = "{data}"\n'
    suite = parse_suite(text, "bench")
    listener: Listener = Quiet()
    spec = resolve_models(suite)[model]
    with tempfile.TemporaryDirectory(prefix="bakeoff-bench-") as folder:
        scratch, cache = Path(folder), default_cache()
        requests = {variant: variant_request(spec, suite, model, variant, 1) for variant in variants}
        subjects = {
            variant: prepare_subject(model, request, suite, cache, scratch) for variant, request in requests.items()
        }
        made = Bench(suite=suite, subjects=subjects, artifacts={}, scratch=scratch)
        cells = {
            made.cell(backend, count, variant): subject
            for variant, subject in subjects.items()
            for backend in backends
            for count in threads
        }
        room = CompileRoom(
            cache=cache, scratch=scratch, cores=usable_cores(), memory_limit_bytes=2**34, listener=listener
        )
        with Advisers(
            [name for name in registry.names() if name in backends], {}, cores=usable_cores(), scratch=scratch
        ) as advisers:
            made.artifacts.update(compile_cells(cells, advisers, suite, room))
        yield made


class BareLoop:
    """A bare loop in a process of its own, stopped while it does not measure."""

    def __init__(self, runtime: str, made: Bench, threads: int, stack: ExitStack) -> None:
        cores = ",".join(str(core) for core in choose_cores(threads, usable_cores()))
        command = [sys.executable, str(BARE), runtime, str(made.subject.exported.path), str(threads), cores]
        self._process = subprocess.Popen(
            [*command, str(made.subject.io)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        stack.callback(self._process.kill)
        self.take(20)

    def take(self, calls: int, settle: int = 0) -> list[int]:
        """Nanoseconds of *calls* calls, after *settle* others."""
        self._process.send_signal(signal.SIGCONT)
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the bare loop has no pipes")
        self._process.stdin.write(f"{settle + calls}\n")
        self._process.stdin.flush()
        times: list[int] = json.loads(self._process.stdout.readline())
        self._process.send_signal(signal.SIGSTOP)
        return times[settle:]


def alternate(first: Callable[[], list[int]], second: Callable[[], list[int]], rounds: int) -> list[float]:
    """Ratio of the medians, first over second, of each of *rounds* rounds; who goes first alternates."""
    ratios = []
    for turn in range(rounds):
        pair = (first(), second()) if turn % 2 == 0 else tuple(reversed((second(), first())))
        ratios.append(float(np.median(pair[0]) / np.median(pair[1])))
    return ratios
