"""Verdicts, ties, speed-ups and marks."""

from __future__ import annotations

from types import ModuleType

import pytest
from bakeoff.reports import across, verdicts
from bakeoff.reports.intervals import Interval, ratio
from bakeoff.reports.marks import cell_marks, precision_asked
from bakeoff.reports.results import BaselineFigure, Cell, Run
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


@pytest.mark.parametrize("other", [{"threads": 2}, {"batch": 4}, {"scenario": "offline"}, {"device": "cuda"}])
def test_speed_up_needs_the_same_setting_and_device(plausible: ModuleType, other: dict[str, object]) -> None:
    """An eager cell that was asked for anything else is no baseline."""
    cell = _cell(plausible, "onnxruntime", 20.0, key="other", **other)
    view = run_view(plausible.make_run((_cell(plausible, "eager", 30.0), cell)))
    (found,) = [found for found in view.measured if found.cell.backend == "onnxruntime"]

    assert found.speed_up is None


def _variant(plausible: ModuleType, steps: str, backend: str, median: float, **extra: object) -> Cell:
    variant = f"resnet18@{steps}"
    return _cell(plausible, backend, median, key=f"{variant}/{backend}", variant=variant, group="g", **extra)


def test_every_variant_is_compared_with_eager_in_fp32(plausible: ModuleType) -> None:
    """The baseline of all variants is eager's cell of fp32, eager's own int8 cell included."""
    cells = [
        _variant(plausible, steps, backend, median)
        for steps, backend, median in (
            ("fp32", "eager", 30.0),
            ("int8", "eager", 60.0),
            ("int8", "openvino", 10.0),
        )
    ]
    view = run_view(plausible.make_run(tuple(cells)))
    gains = {found.cell.key: found.speed_up for found in view.measured}

    assert "eager fp32" == view.over
    assert [1.0, 0.5, 3.0] == [gain.value for key in sorted(gains) if (gain := gains[key]) is not None]
    assert {"eager fp32"} == {gain.reference for gain in gains.values() if gain is not None}
    assert [True, False, False] == [gain.is_baseline for key in sorted(gains) if (gain := gains[key]) is not None]


def test_without_fp32_a_variant_is_compared_with_its_own_eager_cell(plausible: ModuleType) -> None:
    """Where eager has no figure in fp32, the same variant's eager cell stands in and is named."""
    cells = (
        plausible.failed_cell("resnet18", "eager", 1, group="g"),
        _variant(plausible, "int8", "eager", 60.0),
        _variant(plausible, "int8", "openvino", 10.0),
    )
    view = run_view(plausible.make_run(cells))
    (found,) = [found for found in view.measured if found.cell.backend == "openvino"]

    assert found.speed_up is not None
    assert (6.0, "eager int8") == (pytest.approx(found.speed_up.value), found.speed_up.reference)
    assert "eager" == view.over


def test_one_group_holds_all_variants(plausible: ModuleType) -> None:
    """Variants of one group took turns with the baseline; a run whose groups hold one variant each says otherwise."""
    cells = (_variant(plausible, "fp32", "eager", 30.0), _variant(plausible, "int8", "openvino", 10.0))
    old = (cells[0], cells[1].model_copy(update={"group": "resnet18@int8/t1/b1"}))
    marks = [[mark.code for mark in run_view(plausible.make_run(c)).measured[1].marks] for c in (cells, old)]

    assert [["precision"], ["precision", "not-interleaved"]] == marks


def test_models_and_variants_stand_as_the_suite_lists_them(plausible: ModuleType) -> None:
    """Whatever ended first; what the suite does not list follows as it ended, and so does all of an old run."""
    wanted = [("b", "int8"), ("a", "raw"), ("a", "int8"), ("b", "fp32"), ("a", "fp32")]
    cells = tuple(
        plausible.measured_cell("resnet18", "eager", 1).model_copy(
            update={"model": model, "variant": f"{model}@{steps}", "key": f"{model}@{steps}"}
        )
        for model, steps in wanted
    )
    matrix = {"models": ["a", "b"], "variants": ["fp32", "int8"]}
    listed = run_view(plausible.make_run(cells, suite_config={"matrix": matrix}))
    bare = run_view(plausible.make_run(cells, suite_config={"matrix": {"models": 3, "variants": [["x"]]}}))

    assert ("a@fp32", "a@int8", "a@raw", "b@fp32", "b@int8") == listed.variants
    assert tuple(f"{model}@{steps}" for model, steps in wanted) == bare.variants


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


def test_a_part_that_measured_the_baseline_again_uses_that_figure(plausible: ModuleType) -> None:
    """A cell that memory kept out of the baseline's part refers to what the baseline took beside it; it has no mark."""
    eager = _cell(plausible, "eager", 30.0)
    again = {"cell": eager.key, "median_ms": 40.0, "ci_low_ms": 39.0, "ci_high_ms": 41.0, "ci_confidence": 0.97}
    cell = _cell(plausible, "openvino", 20.0, group="another group", baseline=BaselineFigure(**again))
    other = cell.model_copy(update={"baseline": BaselineFigure(**{**again, "cell": "of another model"})})
    near, far = (_only(plausible.make_run((eager, one))).measured[0] for one in (cell, other))

    assert near.speed_up is not None
    assert far.speed_up is not None
    assert (2.0, 1.5) == (near.speed_up.value, far.speed_up.value)
    assert (False, False) == (near.speed_up.is_baseline, near.speed_up.within_noise)
    assert ([], ["not-interleaved"]) == tuple([mark.code for mark in view.marks] for view in (near, far))


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
    [
        ("resnet18@fp32", "fp32"),
        ("resnet18@channel50+int8", "int8"),
        ("resnet18@channel50", "fp32"),
        ("resnet18@int8:entropy:keep=a|b", "int8"),
        ("resnet18@sparse2:4+int8-dynamic", "int8-dynamic"),
        ("resnet18@int4-weights", "int4-weights"),
        ("resnet18@no-such-step", "fp32"),
        ("odd", "fp32"),
    ],
)
def test_a_variant_names_its_precision(variant: str, precision: str) -> None:
    """The precision step of a variant is what it asks for; a name that nobody knows asks for none."""
    assert precision == precision_asked(variant)


@pytest.mark.parametrize(
    ("steps", "ran", "marked"),
    [
        ("fp16", "fp32", True),
        ("bf16", "fp32", True),
        ("int8", "mixed(fp32: 3, int8: 50)", True),
        ("int8:keep=conv_a", "mixed(fp32: 1, int8: 52)", False),
        ("int8-dynamic", "int8", False),
        ("int8-weights", "fp32", False),
        ("int4-weights", "bf16", False),
        ("channel50", "fp32", False),
        ("fp32", "none", False),
    ],
)
def test_a_precision_that_was_not_asked_for_is_marked(
    plausible: ModuleType, steps: str, ran: str, marked: bool
) -> None:
    """Weights stored in few bits are meant to be computed in float, kept nodes to be mixed; else it is said."""
    cell = _variant(plausible, steps, "openvino", 20.0)
    assert cell.executed is not None
    executed = cell.executed.model_copy(update={"precision": ran})

    assert marked == ("precision" in _marks(cell.model_copy(update={"executed": executed})))


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
