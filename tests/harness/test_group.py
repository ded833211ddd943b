"""A group of real workers: every cell ends exactly once, in turn with the others, whatever becomes of one of them."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from bakeoff.harness.cores import choose_cores, usable_cores
from bakeoff.harness.group import Group, GroupPlan, Seat
from bakeoff.harness.live import Prepared
from bakeoff.harness.phases import PhaseClock
from bakeoff.harness.plan import CellSpec
from bakeoff.harness.process import WorkerSettings
from bakeoff.harness.stats import CONFIDENCE, summarize
from bakeoff.harness.suite import Measure
from bakeoff.harness.watch import Watch
from bakeoff.models.errors import CellError, MismatchError, WorkerError
from bakeoff.reports.results import Cell, Control

MEASURE = Measure(
    target_interval=1.0, time_limit_s=60.0, block_ms=2.0, warmup_window=1, warmup_tolerance=0.99, warmup_limit_s=0.5
)
"""Ends after the six blocks that an interval needs, and `min_blocks`, unless a test asks for more."""
SOME_CALLS = "40"
"""More inferences than checking and warm-up take here; a fault after so many strikes in the timed part."""
NEVER = 1e-9
"""No interval is as narrow."""


@dataclass
class Seen:
    """What a group told."""

    cells: list[Cell] = field(default_factory=list)
    errors: list[CellError | None] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    ticks: list[str] = field(default_factory=list)
    left: Sequence[Seat] = ()
    clock: PhaseClock = field(default_factory=PhaseClock)

    @property
    def status(self) -> dict[str, str]:
        """Status by model; every cell must have ended once."""
        found: dict[str, str] = {cell.model: cell.status for cell in self.cells}
        assert len(found) == len(self.cells)
        return found

    def finish(self, cell: Cell, error: CellError | None) -> None:
        self.cells.append(cell)
        self.errors.append(error)


class NoRoom(Watch):
    """A machine without memory for a second worker."""

    def has_room(self, needed_bytes: float) -> bool:
        assert needed_bytes > 0
        return False


def seat(
    lab: Any, model: str, options: Mapping[str, str] | None = None, *, baseline: bool = False, **more: Any
) -> Seat:
    """A cell of the tiny net under the name *model*."""
    backend = more.get("backend", "numpy_reference")
    cell = CellSpec(
        model=model,
        variant="fp32",
        backend=backend,
        scenario="single-stream",
        threads=1,
        batch=1,
        device="cpu",
        options=dict(options or {}),
    )
    return Seat(
        prepared=Prepared(
            cell=cell,
            artifact=lab.artifact(backend),
            artifact_id="0123",
            artifact_bytes=77,
            compile_s=0.5,
            compile_cached=True,
            inputs=lab.net.io,
            input_count=lab.net.inputs,
            reference="numpy",
            tolerance=1e-3,
            notes=("a note",),
        ),
        settings=WorkerSettings(cores=choose_cores(1, usable_cores())),
        time_limit_s=more.get("time_limit_s", 60.0),
        baseline=baseline,
    )


def measure(
    lab: Any,
    seats: Sequence[Seat],
    *,
    measure: Measure = MEASURE,
    watch: type[Watch] = Watch,
    on_tick: Callable[[Group, list[str]], None] = lambda group, ticks: None,
) -> Seen:
    """Run a group of *seats* to its end."""
    seen = Seen()

    def tick(words: str) -> None:
        seen.ticks.append(words)
        on_tick(group, seen.ticks)

    group = Group(
        plan=GroupPlan(
            name="the group",
            seats=seats,
            measure=measure,
            cores=choose_cores(1, usable_cores()),
            sitting=2,
            scratch=lab.folder,
        ),
        watch=watch(cores=usable_cores()),
        clock=seen.clock,
        finished=seen.finish,
        controlled=seen.controls.append,
        tick=tick,
    )
    seen.left = group.run()
    lab.workers.extend(group._workers)
    assert not any(worker.alive for worker in group._workers)
    return seen


def test_one_cell(lab: Any) -> None:
    """A cell alone is measured, with itself as the control; its record is complete."""
    seen = measure(lab, [seat(lab, "a")])
    assert {"a": "ok"} == seen.status
    assert () == seen.left
    (cell,), (control,) = seen.cells, seen.controls
    assert "a@fp32/numpy_reference/single-stream/t1/b1/cpu" == cell.key == control.cell
    assert ("the group", 2) == (cell.group, cell.sitting)
    assert cell.samples == sum(len(block) for block in cell.blocks_ms)
    summary = summarize(cell.blocks_ms)
    assert (summary.median, summary.interval.low, summary.p90) == (cell.median_ms, cell.ci_low_ms, cell.p90_ms)
    assert cell.ci_confidence is not None
    assert cell.ci_confidence >= CONFIDENCE
    assert cell.converged
    assert cell.executed is not None
    assert ("fp32", ("reference evaluator",)) == (cell.executed.precision, cell.executed.marks)
    assert choose_cores(1, usable_cores()) == cell.executed.cores
    assert cell.check is not None
    assert ("numpy", len(cell.blocks_ms)) == (cell.check.reference, cell.check.sampled_outputs)
    assert "a note" in cell.notes
    assert cell.load_s is not None
    assert cell.first_inference_ms is not None
    assert pytest.approx(1e3 * cell.load_s + cell.first_inference_ms) == cell.cached_start_ms
    assert pytest.approx(1e3 * cell.load_s + cell.first_inference_ms + 500.0) == cell.cold_start_ms
    assert pytest.approx(control.twin_median_ms / control.median_ms) == control.ratio
    assert control.floor >= 0.0
    assert control.rounds >= MEASURE.min_blocks
    assert ["load and warm up", "measure", "other"] == [phase.name for phase in seen.clock.phases()]


@pytest.mark.slow
class TestTurns:
    def test_every_cell_once_and_in_turn(self, lab: Any) -> None:
        """Blocks go forwards and backwards in turn, so that drift hits all alike; each cell ends exactly once."""
        seats = [seat(lab, "a", baseline=True), seat(lab, "b"), seat(lab, "c")]
        seen = measure(lab, seats, measure=MEASURE.model_copy(update={"min_blocks": 10}))
        assert {"a": "ok", "b": "ok", "c": "ok"} == seen.status
        assert ["b@fp32/numpy_reference/single-stream/t1/b1/cpu"] == [control.cell for control in seen.controls]
        order = "".join(words.split("@")[0][-1] for words in seen.ticks if words.startswith("measure"))
        assert order.startswith("abbc" + "cbba" + "abbc" + "cbba")
        assert min(len(cell.blocks_ms) for cell in seen.cells) >= 10  # more where the machine is noisy

    def test_time_limit(self, lab: Any) -> None:
        """A cell at its time limit ends unconverged, and its block count shows in the interval's coverage."""
        seen = measure(
            lab,
            [seat(lab, "a", time_limit_s=1e-6), seat(lab, "b")],
            measure=MEASURE.model_copy(update={"min_blocks": 9}),
        )
        a, b = sorted(seen.cells, key=lambda cell: cell.model)
        assert (False, 1, 0.0) == (a.converged, len(a.blocks_ms), a.ci_confidence)
        assert b.converged
        assert len(b.blocks_ms) >= 9  # more where the machine is noisy

    def test_two_backends(self, lab: Any) -> None:
        """Cells of different backends stand side by side, and the fast one of them is found fast."""
        seats = [seat(lab, "a", baseline=True), seat(lab, "b", backend="onnxruntime")]
        seen = measure(lab, seats)
        assert {"a": "ok", "b": "ok"} == seen.status
        slow, fast = sorted(seen.cells, key=lambda cell: cell.model)
        assert slow.ci_low_ms is not None
        assert fast.ci_high_ms is not None
        assert fast.ci_high_ms < slow.ci_low_ms

    def test_the_baseline_is_measured_again_beside_what_memory_left(self, lab: Any) -> None:
        """In a later part it takes its turns, lends every cell its figure, and is no cell of its own."""
        again = dataclasses.replace(seat(lab, "base", baseline=True), anchor=True)
        seen = measure(
            lab, [again, seat(lab, "a"), seat(lab, "b")], measure=MEASURE.model_copy(update={"min_blocks": 8})
        )
        assert {"a": "ok", "b": "ok"} == seen.status
        assert ["a@fp32/numpy_reference/single-stream/t1/b1/cpu"] == [control.cell for control in seen.controls]
        order = "".join(words.split("@")[0][-1] for words in seen.ticks if words.startswith("measure"))
        assert order.startswith("eaab" + "baae" + "eaab" + "baae")
        for cell in seen.cells:
            assert cell.baseline is not None
            assert "base@fp32/numpy_reference/single-stream/t1/b1/cpu" == cell.baseline.cell
            assert 0.0 < cell.baseline.ci_low_ms <= cell.baseline.median_ms <= cell.baseline.ci_high_ms

    def test_the_baseline_makes_room_for_the_cells(self, lab: Any) -> None:
        """Where memory holds one worker only, every part still measures a cell of its own."""
        again = dataclasses.replace(seat(lab, "base", baseline=True), anchor=True)
        seats = [again, seat(lab, "a"), seat(lab, "b")]
        seen = measure(lab, seats, watch=NoRoom)
        assert {"a": "ok"} == seen.status
        assert seats[2:] == list(seen.left)
        assert [None] == [cell.baseline for cell in seen.cells]

    @pytest.mark.parametrize("fault", [{"stage": "load"}, {"after": SOME_CALLS}])
    def test_a_baseline_that_fails_the_second_time(self, lab: Any, fault: Mapping[str, str]) -> None:
        """It costs nobody anything but the comparison."""
        bad = dataclasses.replace(seat(lab, "base", {"fault": "segfault", **fault}, baseline=True), anchor=True)
        endless = MEASURE.model_copy(update={"target_interval": NEVER})
        seen = measure(lab, [bad, seat(lab, "a", time_limit_s=0.2)], measure=endless)
        assert {"a": "ok"} == seen.status
        assert [None] == [cell.baseline for cell in seen.cells]

    def test_no_room(self, lab: Any) -> None:
        """Where memory holds one worker only, the others' seats come back, and nothing is loaded that has no room."""
        seats = [seat(lab, "a"), seat(lab, "b"), seat(lab, "c")]
        seen = measure(lab, seats, watch=NoRoom)
        assert {"a": "ok"} == seen.status
        assert seats[1:] == list(seen.left)
        assert [] == seen.controls
        assert 1 == sum(words.startswith("load") for words in seen.ticks)


@pytest.mark.slow
class TestFailures:
    @pytest.mark.parametrize("stage", ["load", "infer"])
    def test_a_crash_at_the_start_costs_one_cell(self, lab: Any, stage: str) -> None:
        """A worker that crashes while it is loaded or checked is one failed cell; the others are measured."""
        bad = {"fault": "segfault", "stage": stage}
        seen = measure(lab, [seat(lab, "a"), seat(lab, "b", bad), seat(lab, "c")])
        assert {"a": "ok", "b": "failed", "c": "ok"} == seen.status
        failed = next(cell for cell in seen.cells if cell.status == "failed")
        assert "the worker crashed (SIGSEGV)" == failed.reason
        assert {"load": "load", "infer": "first"}[stage] == failed.stage
        assert ("runtime", 77, 0.5) == (failed.blame, failed.artifact_bytes, failed.compile_s)
        assert failed.median_ms is None
        assert 1 == len(seen.controls)

    def test_a_crash_in_the_timed_part_costs_one_cell(self, lab: Any) -> None:
        """So is one that crashes between two blocks' ends; what it had measured until then is not told."""
        bad = {"fault": "segfault", "after": SOME_CALLS}
        endless = MEASURE.model_copy(update={"target_interval": NEVER})
        seats = [seat(lab, "a", time_limit_s=0.2), seat(lab, "b", bad), seat(lab, "c", time_limit_s=0.2)]
        seen = measure(lab, seats, measure=endless)
        assert {"a": "ok", "b": "failed", "c": "ok"} == seen.status
        failed = next(cell for cell in seen.cells if cell.status == "failed")
        assert ("block", "the worker crashed (SIGSEGV)") == (failed.stage, failed.reason)
        assert 0 == failed.samples

    def test_a_hang_in_the_timed_part_costs_one_cell(self, lab: Any) -> None:
        """A hang is found within the limit of one call, however many calls the block has."""
        impatient = MEASURE.model_copy(update={"target_interval": NEVER, "call_limit_s": 10.0})
        hang = {"fault": "hang", "after": SOME_CALLS}
        seen = measure(lab, [seat(lab, "a", time_limit_s=0.2), seat(lab, "b", hang)], measure=impatient)
        assert {"a": "ok", "b": "failed"} == seen.status
        assert any("no answer within 10.12 s; killed" == cell.reason for cell in seen.cells)

    def test_wrong_outputs_in_the_timed_part(self, lab: Any) -> None:
        """A cell that turns wrong while it is timed is a mismatch, and has no figure."""
        wrong = {"fault": "wrong", "after": SOME_CALLS}
        endless = MEASURE.model_copy(update={"target_interval": NEVER})
        seen = measure(lab, [seat(lab, "a", time_limit_s=0.2), seat(lab, "b", wrong)], measure=endless)
        assert {"a": "ok", "b": "mismatch"} == seen.status
        assert [MismatchError] == [type(error) for error in seen.errors if error is not None]

    def test_everything_fails(self, lab: Any) -> None:
        """A group without a living worker ends, with every cell told."""
        bad = {"fault": "raise", "stage": "load"}
        seen = measure(lab, [seat(lab, "a", bad, baseline=True), seat(lab, "b", bad)])
        assert {"a": "failed", "b": "failed"} == seen.status
        assert ([], ()) == (seen.controls, seen.left)

    def test_only_the_baseline_is_left(self, lab: Any) -> None:
        """Where every compiler fails, the baseline is the control."""
        bad = {"fault": "raise", "stage": "load"}
        seen = measure(lab, [seat(lab, "a", baseline=True), seat(lab, "b", bad)])
        assert {"a": "ok", "b": "failed"} == seen.status
        assert ["a@fp32/numpy_reference/single-stream/t1/b1/cpu"] == [control.cell for control in seen.controls]

    def test_a_dead_twin_harms_nobody(self, lab: Any) -> None:
        """When the control's second worker dies, its cell is measured all the same, without a control."""

        def kill_twin(group: Group, ticks: list[str]) -> None:
            if ticks[-1].startswith("measure") and ticks[-2].startswith("load"):  # once, whoever ends first
                os.kill(group._workers[1].pid, signal.SIGKILL)

        seen = measure(lab, [seat(lab, "a"), seat(lab, "b")], on_tick=kill_twin)
        assert {"a": "ok", "b": "ok"} == seen.status
        assert [] == seen.controls

    def test_killed_while_stopped(self, lab: Any) -> None:
        """A worker that the kernel kills while others are measured is told of like any other: no cell is lost."""

        def kill_last(group: Group, ticks: list[str]) -> None:
            if (
                sum(words.startswith("measure") for words in ticks) == 4
            ):  # the first block of the second round is its own
                os.kill(group._workers[0].pid, signal.SIGKILL)

        seen = measure(lab, [seat(lab, "a", baseline=True), seat(lab, "b")], on_tick=kill_last)
        assert {"a": "failed", "b": "ok"} == seen.status
        (error,) = (error for error in seen.errors if error is not None)
        assert isinstance(error, WorkerError)
        assert "SIGKILL" in error.reason
        assert 1 == len(seen.controls)

    def test_the_store_fails(self, lab: Any) -> None:
        """Whatever else goes wrong passes through, and no worker stays."""

        def full(_group: Group, ticks: list[str]) -> None:
            if ticks[-1].startswith("measure"):
                raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            measure(lab, [seat(lab, "a")], on_tick=full)
