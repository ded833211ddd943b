"""Verdicts, ties, speed-ups and marks."""

from __future__ import annotations

from types import ModuleType

import pytest
from bakeoff.reports import across, verdicts
from bakeoff.reports.intervals import Interval, ratio
from bakeoff.reports.marks import cell_marks, precision_asked
from bakeoff.reports.results import Cell, Run
from bakeoff.reports.views import Comparison, run_view


def _cell(plausible: ModuleType, backend: str, median: float, spread: float = 0.01, **extra: object) -> Cell:
    fields = {"median_ms": median, "ci_low_ms": median * (1 - spread), "ci_high_ms": median * (1 + spread)}
    cell = plausible.measured_cell("resnet18", backend, 1, **fields)
    return cell.model_copy(update=extra)


def _run(plausible: ModuleType, medians: dict[str, float], **extra: object) -> Run:
    return plausible.make_run(tuple(_cell(plausible, name, median) for name, median in medians.items()), **extra)


def _only(run: Run) -> Comparison:
    (comparison,) = run_view(run).comparisons
    return comparison


def _marks(cell: Cell) -> list[str]:
    return [mark.code for mark in cell_marks(cell)]


def test_ratio_divides_the_ends_crosswise() -> None:
    """The ratio of two figures is as wide as their intervals allow."""
    assert Interval(low=8 / 5, high=10 / 4) == ratio(Interval(low=8, high=10), Interval(low=4, high=5))


def test_a_clear_lead_names_one_fastest_and_the_next(plausible: ModuleType) -> None:
    """The lowest median wins where intervals and noise floor separate it, and the next one's distance is given."""
    verdict = _only(_run(plausible, {"eager": 30.0, "onnxruntime": 20.0, "openvino": 25.0})).verdict

    assert "fastest" == verdict.outcome
    assert ["onnxruntime"] == [view.label for view in verdict.leaders]
    assert verdict.next is not None
    assert "openvino" == verdict.next.label
    assert verdict.lead is not None
    assert verdict.lead.holds(25 / 20)


def test_overlapping_intervals_tie(plausible: ModuleType) -> None:
    """All cells whose ratio to the best includes 1 are leaders, in order of their medians."""
    verdict = _only(_run(plausible, {"openvino": 20.2, "onnxruntime": 20.0, "inductor": 20.3, "eager": 30.0})).verdict

    assert "tie" == verdict.outcome
    assert ["onnxruntime", "openvino", "inductor"] == [view.label for view in verdict.leaders]


@pytest.mark.parametrize(("floor", "outcome"), [(None, "fastest"), (0.01, "fastest"), (0.05, "tie")])
def test_the_noise_floor_widens_a_tie(plausible: ModuleType, floor: float | None, outcome: str) -> None:
    """A lead under the noise floor is a tie; without a control the intervals decide alone."""
    run = _run(plausible, {"onnxruntime": 20.0, "openvino": 21.0}, noise_floor=floor)

    assert outcome == _only(run).verdict.outcome


def test_one_measured_cell_is_no_winner(plausible: ModuleType) -> None:
    """A lone cell is called the only one, not the fastest."""
    assert "only" == _only(_run(plausible, {"onnxruntime": 20.0})).verdict.outcome


def test_a_cell_without_interval_neither_wins_nor_ties(plausible: ModuleType) -> None:
    """A median without an interval cannot be ranked against one that has it."""
    bare = _cell(plausible, "tvm", 1.0, ci_low_ms=None, ci_high_ms=None)
    comparison = _only(plausible.make_run((bare, _cell(plausible, "onnxruntime", 20.0))))

    assert ["onnxruntime"] == [view.label for view in comparison.verdict.leaders]
    assert "no-interval" in [mark.code for mark in comparison.measured[0].marks]


def test_no_interval_at_all_is_undecided(plausible: ModuleType) -> None:
    """Where no cell has an interval, the lowest median is shown but no winner is named."""
    cells = [_cell(plausible, name, 9.0, ci_low_ms=None, ci_high_ms=None) for name in ("eager", "openvino")]

    assert "undecided" == _only(plausible.make_run(tuple(cells))).verdict.outcome


def test_speed_up_carries_the_interval_of_both_cells(plausible: ModuleType) -> None:
    """Speed-up is eager over the cell; its interval divides the ends crosswise."""
    fast = _only(_run(plausible, {"eager": 30.0, "onnxruntime": 20.0})).measured[0]

    assert fast.speed_up is not None
    assert 1.5 == pytest.approx(fast.speed_up.value)
    assert fast.speed_up.interval is not None
    assert 30 * 0.99 / (20 * 1.01) == pytest.approx(fast.speed_up.interval.low)
    assert 30 * 1.01 / (20 * 0.99) == pytest.approx(fast.speed_up.interval.high)
    assert not fast.speed_up.within_noise


def test_a_speed_up_under_the_noise_is_said_to_be(plausible: ModuleType) -> None:
    """A cell that eager's interval overlaps is not told apart from it."""
    fast = _only(_run(plausible, {"eager": 20.1, "onnxruntime": 20.0})).measured[0]

    assert fast.speed_up is not None
    assert fast.speed_up.within_noise


@pytest.mark.parametrize(
    "other", [{"variant": "resnet18@int8"}, {"threads": 2}, {"batch": 4}, {"scenario": "offline"}, {"device": "cuda"}]
)
def test_speed_up_needs_the_same_variant_setting_and_device(plausible: ModuleType, other: dict[str, object]) -> None:
    """An eager cell that differs in anything is no baseline."""
    cell = _cell(plausible, "onnxruntime", 20.0, key="other", **other)
    view = run_view(plausible.make_run((_cell(plausible, "eager", 30.0), cell)))
    (found,) = [found for found in view.measured if found.cell.backend == "onnxruntime"]

    assert found.speed_up is None


def test_a_failed_baseline_gives_no_speed_up(plausible: ModuleType) -> None:
    """Without a measured eager cell no speed-up is shown."""
    run = plausible.make_run((plausible.failed_cell("resnet18", "eager", 1), _cell(plausible, "openvino", 20.0)))

    assert not run_view(run).has_baseline


@pytest.mark.parametrize("apart", [{"sitting": 1}, {"group": "another group"}])
def test_a_cell_apart_from_its_baseline_is_marked(plausible: ModuleType, apart: dict[str, object]) -> None:
    """A cell of another sitting or group than its eager cell did not take turns with it, and says so."""
    cells = (_cell(plausible, "eager", 30.0), _cell(plausible, "openvino", 20.0, **apart))
    comparison = _only(plausible.make_run(cells))

    assert ["not interleaved with its baseline"] == [mark.label for mark in comparison.measured[0].marks]
    assert not comparison.interleaved


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ({"suspicious": True, "suspicious_reasons": ("steal time 9%",)}, "suspicious"),
        ({"converged": False}, "not-converged"),
        ({"warmup_steady": False}, "warm-up"),
        ({"ci_confidence": 0.75}, "weak-interval"),
        ({"ci_low_ms": 9.0, "ci_high_ms": 8.0}, "no-interval"),
    ],
)
def test_doubts_about_sampling_become_marks(plausible: ModuleType, extra: dict[str, object], code: str) -> None:
    """Every doubt about a figure has a mark."""
    assert [code] == _marks(_cell(plausible, "openvino", 20.0, **extra))


@pytest.mark.parametrize(
    ("ran", "code"),
    [
        ({"marks": ("untuned",)}, "untuned"),
        ({"marks": ("beta",)}, "backend"),
        ({"fallbacks": ("Resize on CPUExecutionProvider",)}, "fallback"),
        ({"device": "gpu"}, "device"),
        ({"precision": "bf16"}, "precision"),
        ({"threads": 4}, "threads"),
        ({"threads_seen": 3}, "threads"),
    ],
)
def test_what_ran_otherwise_than_asked_is_marked(plausible: ModuleType, ran: dict[str, object], code: str) -> None:
    """A device, precision, thread count or fallback that nobody asked for stands beside the figure."""
    cell = _cell(plausible, "openvino", 20.0)
    assert cell.executed is not None
    executed = cell.executed.model_copy(update=ran)

    assert [code] == _marks(cell.model_copy(update={"executed": executed}))


@pytest.mark.parametrize(
    ("variant", "precision"),
    [("resnet18@fp32", "fp32"), ("resnet18@channel50+int8", "int8"), ("resnet18@channel50", "fp32"), ("odd", "fp32")],
)
def test_a_variant_names_its_precision(variant: str, precision: str) -> None:
    """The last precision step of a variant is what it asks for."""
    assert precision == precision_asked(variant)


@pytest.mark.parametrize("median", [0.0, -1.0, float("nan"), float("inf"), None])
def test_an_unusable_median_is_no_figure(plausible: ModuleType, median: float | None) -> None:
    """Results come from anywhere: a median that is no latency is shown as a cell without a figure."""
    comparison = _only(plausible.make_run((_cell(plausible, "openvino", 20.0, median_ms=median),)))

    assert () == comparison.measured
    assert ["no figure"] == [view.status for view in comparison.failures]


def test_labels_name_what_tells_cells_apart(plausible: ModuleType) -> None:
    """Options are named where one backend runs twice, devices where a run has several."""
    plain = _cell(plausible, "openvino", 20.0)
    tuned = _cell(plausible, "openvino", 21.0, key="k2", options={"hint": "latency"})
    cuda = _cell(plausible, "onnxruntime", 9.0, key="k3", device="cuda")

    assert ["openvino", "openvino [hint=latency]"] == [
        v.label for v in _only(plausible.make_run((plain, tuned))).measured
    ]
    assert ["onnxruntime on cuda", "openvino on cpu"] == [
        v.label for v in _only(plausible.make_run((plain, cuda))).measured
    ]


def test_the_headline_counts_wins_and_ties(plausible: ModuleType) -> None:
    """The run in one sentence names who leads most often."""
    view = run_view(_run(plausible, {"eager": 30.0, "onnxruntime": 20.0, "openvino": 20.1}))

    assert "onnxruntime and openvino are each tied for fastest in 1 of 1 comparison." == verdicts.headline(view)


@pytest.mark.parametrize("name", ["empty", "nothing"])
def test_a_run_without_figures_says_so(plausible: ModuleType, name: str) -> None:
    """No cell, or none that was measured, is a sentence and not an error."""
    cells = () if name == "empty" else (plausible.failed_cell("resnet18", "tvm", 1),)

    assert "No cell of this run has a figure." == verdicts.headline(run_view(plausible.make_run(cells)))


def test_targets_are_matched_by_threads_and_by_all_cores(plausible: ModuleType) -> None:
    """Two cores on one target and eight on another meet under "all cores"."""
    big = plausible.target("Big", 8, "big-8c")
    cells = tuple(plausible.measured_cell("resnet18", "openvino", threads) for threads in (1, 8))
    small = tuple(plausible.measured_cell("resnet18", "openvino", threads) for threads in (1, 2))
    views = [
        run_view(plausible.make_run(small)),
        run_view(plausible.make_run(cells, target=big, target_id="big-8c", id="other")),
    ]

    settings = [table.setting for table in across.across(views)]

    assert ["1 thread, batch 1, single-stream", "all cores, batch 1, single-stream"] == settings


def test_equal_targets_are_not_compared_twice(plausible: ModuleType) -> None:
    """Where "all cores" is the same comparison as a number of threads, it is shown once."""
    views = [run_view(plausible.quick_run(20)), run_view(plausible.quick_run(20, id="again"))]

    settings = {table.setting.partition(",")[0] for table in across.across(views)}

    assert {"1 thread", "2 threads"} == settings
