"""One cell while its worker is alive: loading, checking, warming up, and one block of samples after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..models.reference import load_arrays
from ..reports.results import Accuracy, Fidelity
from .evaluation import Evaluation, judge_outputs
from .plan import CellSpec
from .process import Worker, WorkerSettings
from .protocol import Message
from .stats import CONFIDENCE, Summary, summarize
from .suite import Measure

__all__ = ["LiveCell", "Prepared", "load_cell", "settling_calls"]

MAX_CALLS = 400
LOOK_SHARE = 20
"""The interval is looked at whenever there are a twentieth more blocks than at the last look."""
SLOW = 10
"""A call this many times as long as `settle_ms` needs no other to settle: cold caches cost it a per cent or less."""
KEPT_PER_BLOCK = 1
BLOCK_PATIENCE = 10
"""A block may take this many times as long as warm-up promised, and one call in it as long as one call may."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A cell whose artifact is ready to be loaded."""

    cell: CellSpec
    artifact: Path
    """Folder of the compiled artifact."""
    artifact_id: str
    artifact_bytes: int
    compile_s: float
    compile_cached: bool
    inputs: Path
    """.npz with the inputs and the reference outputs."""
    input_count: int
    reference: str
    """What computed the reference outputs."""
    tolerance: float
    evaluation: Evaluation | None = None
    """What its outputs are judged by; None: it is timed only."""
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True, eq=False)
class LiveCell:
    """A loaded cell and all that was seen of it so far; times as the worker's clock gave them."""

    prepared: Prepared
    worker: Worker
    measure: Measure
    time_limit_s: float
    load_s: float
    first: Message
    twin: bool = False
    """True for the second name of the A/A control's cell."""
    warm: Message = field(default_factory=dict)
    calls: int = 1
    settle: int = 0
    """Calls before each block that do not count."""
    blocks_ns: list[list[int]] = field(default_factory=list)
    spent_s: float = 0.0
    cpu_s: float = 0.0
    sampled: int = 0
    sampled_rel_error: float = 0.0
    next_look: int = 0
    """Blocks at which the interval is looked at again: looks grow rarer, or they would cost a tiny net more than its
    calls."""
    settled: bool = False
    """What the last look found."""

    @classmethod
    def begin(
        cls, prepared: Prepared, worker: Worker, *, measure: Measure, time_limit_s: float, twin: bool = False
    ) -> Self:
        """Load the artifact in the fresh *worker*, time the first inference, check the outputs, warm up, stop it.

        Raises CellError if any of it fails.
        """
        worker.greet()
        cell = prepared.cell
        limit = measure.call_limit_s
        asked = {
            "backend": cell.backend,
            "artifact": str(prepared.artifact),
            "device": cell.device,
            "threads": cell.threads,
            "options": dict(cell.options),
        }
        loaded = worker.ask({**cls.loading(prepared), **asked}, limit_s=limit)
        live = cls(
            prepared=prepared,
            worker=worker,
            measure=measure,
            time_limit_s=time_limit_s,
            load_s=loaded["load_s"],
            first=_first(worker, prepared, limit),
            twin=twin,
        )
        live.warm_up()
        worker.stop()
        return live

    @classmethod
    def loading(cls, _prepared: Prepared) -> Message:
        """The operation that loads."""
        return {"op": "load"}

    def measuring(self) -> Message:
        """The operation that takes a block, besides how many calls."""
        return {"op": "block", "keep": KEPT_PER_BLOCK}

    @property
    def cell(self) -> CellSpec:
        """What was asked."""
        return self.prepared.cell

    def warm_up(self) -> None:
        """Warm up, and choose how many calls make a block of about `block_ms`, and how many settle it."""
        self.warm = self.worker.ask(
            {
                "op": "warm",
                "window": self.measure.warmup_window,
                "tolerance": self.measure.warmup_tolerance,
                "cap_s": self.measure.warmup_limit_s,
            },
            limit_s=self.measure.warmup_limit_s + 2 * self.measure.call_limit_s,
        )
        call_ms = self.warm["median_ns"] / 1e6
        self.calls = min(MAX_CALLS, max(1, math.ceil(self.measure.block_ms / call_ms)))
        self.settle = settling_calls(call_ms, self.measure.settle_ms)

    def take_block(self) -> Message:
        """Let the worker run, time one block, and stop it again."""
        self.worker.go()
        answer = self.worker.ask(
            {**self.measuring(), "settle": self.settle, "calls": self.calls},
            limit_s=self.measure.call_limit_s + BLOCK_PATIENCE * (self.measure.block_ms + self.measure.settle_ms) / 1e3,
        )
        self.worker.stop()
        self.blocks_ns.append(answer["times_ns"])
        self.spent_s += answer["wall_s"]
        self.cpu_s += answer["cpu_s"]
        self.sampled += answer.get("sampled", 0)
        self.sampled_rel_error = max(self.sampled_rel_error, answer.get("sampled_rel_error", 0.0))
        return answer

    def summary(self) -> Summary:
        """Summary of the samples so far, in milliseconds."""
        return summarize([np.asarray(block) / 1e6 for block in self.blocks_ns])

    def converged(self) -> bool:
        """Whether the interval of the median is as narrow as asked, and has its full coverage."""
        if len(self.blocks_ns) < self.measure.min_blocks:
            return False
        summary = self.summary()
        interval = summary.interval
        width = interval.high - interval.low
        return interval.confidence >= CONFIDENCE and width <= self.measure.target_interval * summary.median

    def done(self) -> bool:
        """Whether sampling may stop."""
        if self.spent_s >= self.time_limit_s:
            return True
        blocks = len(self.blocks_ns)
        if blocks >= self.next_look:
            self.next_look = blocks + max(1, blocks // LOOK_SHARE)
            self.settled = self.converged()
        return self.settled

    def report(self) -> Message:
        """How it really ran, as the worker tells at the end."""
        self.worker.go()
        return self.worker.ask({"op": "report"}, limit_s=self.measure.call_limit_s)

    def evaluate(self, out: Path, report: Message) -> tuple[Accuracy | None, Fidelity | None]:
        """Accuracy and fidelity of this very session, after all timing; its outputs pass through the file *out*.

        *report* is what `report` gave: a session that its runtime quantized by itself is not the graph that was
        simulated. Raises CellError if an inference fails or its outputs are not finite.
        """
        evaluation = self.prepared.evaluation
        if evaluation is None:
            return None, None
        self.worker.ask(
            {"op": "evaluate", "path": str(evaluation.data.path), "out": str(out), "limit_s": evaluation.limit_s},
            limit_s=evaluation.limit_s + 2 * self.measure.call_limit_s,
        )
        outputs = load_arrays(out, len(evaluation.names))
        out.unlink()
        return judge_outputs(evaluation, outputs, own_graph="quantizer" in report["executed"]["details"])

    def close(self) -> None:
        """End the worker in good order."""
        if self.worker.alive:
            self.worker.go()
            self.worker.ask({"op": "close"}, limit_s=self.measure.call_limit_s)
        self.worker.close()


def settling_calls(call_ms: float, settle_ms: float) -> int:
    """How many calls of *call_ms* go before a block so that its first one finds the caches as the others do."""
    return min(MAX_CALLS, math.ceil(settle_ms / call_ms)) if call_ms < SLOW * settle_ms else 0


def load_cell(
    prepared: Prepared,
    settings: WorkerSettings,
    stderr: Path,
    *,
    measure: Measure,
    time_limit_s: float,
    twin: bool,
    started: Callable[[Worker], Any],
) -> LiveCell:
    """Start a fresh worker, load the artifact, time the first inference, check the outputs, warm up, stop.

    *started* is called with the worker as soon as it lives, so that its owner can end it whatever happens. Raises
    CellError if any of it fails.
    """
    worker = Worker(settings, stderr)
    started(worker)
    return LiveCell.begin(prepared, worker, measure=measure, time_limit_s=time_limit_s, twin=twin)


def _first(worker: Worker, prepared: Prepared, limit_s: float) -> Message:
    """The first inference, timed, and the check of the outputs of every input; the errors are the worst of all."""
    worker.ask(
        {
            "op": "inputs",
            "path": str(prepared.inputs),
            "count": prepared.input_count,
            "tolerance": prepared.tolerance,
        },
        limit_s=limit_s,
    )
    first = worker.ask({"op": "first"}, limit_s=limit_s)
    for _ in range(1, prepared.input_count):
        other = worker.ask({"op": "check"}, limit_s=limit_s)
        first.update(
            {name: max(first[name], other[name]) for name in ("max_abs_error", "max_rel_error", "rms_rel_error")}
        )
    return first
