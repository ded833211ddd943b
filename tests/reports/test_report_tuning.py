"""The reports' part on tuning: share, cost, curve, and after how many inferences it has paid."""

from __future__ import annotations

from types import ModuleType

import pytest
from bakeoff.reports.html import render_html
from bakeoff.reports.markdown import summary_markdown
from bakeoff.reports.palette import styles
from bakeoff.reports.results import ExecutedFacts, Run
from bakeoff.reports.tuning import payback_words, share_words, source_words, space_words, tuned_cells
from bakeoff.reports.tuning_chart import curve_charts
from bakeoff.reports.views import run_view


def _run(plausible: ModuleType, tvm_ms: float, rival_ms: float | None, **extra: object) -> Run:
    ran = ExecutedFacts(device="cpu", precision="fp32", threads=1, tuning=plausible.tuning(seconds=100.0))

    def at(ms: float) -> dict[str, float]:
        return {"median_ms": ms, "ci_low_ms": ms * 0.99, "ci_high_ms": ms * 1.01}

    cells = [plausible.measured_cell("resnet18", "tvm", 1, executed=ran, **at(tvm_ms), **extra)]
    if rival_ms is not None:
        cells.append(plausible.measured_cell("resnet18", "onnxruntime", 1, **at(rival_ms)))
    return plausible.make_run(tuple(cells), noise_floor=0.0)


def test_break_even_is_what_it_cost_over_what_an_inference_saves(plausible: ModuleType) -> None:
    """100 s at 10 ms saved are 10,000 inferences; the bounds come from both intervals."""
    (found,) = tuned_cells(run_view(_run(plausible, 10.0, 20.0)))
    assert found.payback is not None
    assert 10_000 == found.payback.inferences
    assert (9_709, 10_310) == (found.payback.fewest, found.payback.most)
    assert "has paid against onnxruntime after 10,000 inferences (9,710 to 10,300)" == payback_words(found)


@pytest.mark.parametrize(
    ("rival_ms", "words"),
    [
        (5.0, "never pays: it is slower than onnxruntime"),
        (10.05, "cannot be told apart from onnxruntime"),
        (9.95, "cannot be told apart from onnxruntime"),
        (None, "onnxruntime was not measured beside it"),
    ],
)
def test_no_break_even_where_nothing_is_gained(plausible: ModuleType, rival_ms: float | None, words: str) -> None:
    """No number of inferences is given unless the intervals show a gain."""
    (found,) = tuned_cells(run_view(_run(plausible, 10.0, rival_ms)))
    assert words == payback_words(found)


def test_what_was_not_interleaved_says_so(plausible: ModuleType) -> None:
    """A drift of the machine would be part of the break-even."""
    (found,) = tuned_cells(run_view(_run(plausible, 10.0, 20.0, sitting=1)))
    assert payback_words(found).endswith("; the two were not interleaved")


def test_free_records_give_no_break_even(plausible: ModuleType) -> None:
    """Records that do not say what they cost are not taken for free."""
    ran = ExecutedFacts(device="cpu", precision="fp32", threads=1, tuning=plausible.tuning(seconds=0.0))
    run = plausible.make_run(
        (
            plausible.measured_cell("resnet18", "tvm", 1, centre=10.0, executed=ran),
            plausible.measured_cell("resnet18", "onnxruntime", 1),
        )
    )
    assert ["its records do not say what they cost"] == [payback_words(found) for found in tuned_cells(run_view(run))]


def test_words(plausible: ModuleType) -> None:
    """Share, spaces and sources of a cell that is tuned in part, by records of two places."""
    facts = tuned_cells(run_view(plausible.tuned_run()))[1].facts
    assert "30 of 33 kernels, 98.1% of the operations" == share_words(facts)
    assert "bakeoff 26, stock 4" == space_words(facts)
    assert "own (llvm-znver5-1) 4, shipped (llvm-x86-64-v3-1) 26" == source_words(facts)


def test_curves_fall_and_end_with_the_cost(plausible: ModuleType) -> None:
    """One against minutes, one against trials; both end where tuning ended."""
    view = run_view(plausible.tuned_run())
    found = tuned_cells(view)[0]
    minutes, trials = curve_charts(found, styles(view.backends))
    for chart, end in ((minutes, 412.0 / 60), (trials, 1180)):
        rows = chart.spec["data"]["values"]
        assert [row["ms"] for row in rows] == sorted((row["ms"] for row in rows), reverse=True)
        assert rows[-1]["x"] == pytest.approx(end, abs=0.001)
        assert "onnxruntime" in chart.description


def test_no_curve_without_points(plausible: ModuleType) -> None:
    """Records without a history draw nothing."""
    ran = ExecutedFacts(device="cpu", precision="fp32", threads=1, tuning=plausible.tuning(curve=()))
    view = run_view(plausible.make_run((plausible.measured_cell("resnet18", "tvm", 1, executed=ran),)))
    assert () == curve_charts(tuned_cells(view)[0], styles(view.backends))


def test_the_page_and_the_summary_tell_it(plausible: ModuleType) -> None:
    """Both spaces are named, untuned kernels and cells are marked, all without JavaScript."""
    run = plausible.tuned_run()
    page = render_html([run])
    for words in (
        "TVM tuning",
        "MetaSchedule, the successor of",
        "3 of 33 tasks untuned",
        "bakeoff 26, stock 4",
        "never pays: it is slower than onnxruntime",
        "shufflenet_v2_x1_0@fp32 (1 thread)",
        "1,180 trials",
    ):
        assert words in page
    assert 4 == page.count("Estimated: the sum of its kernels")
    assert "has paid against onnxruntime after" in summary_markdown([run])


def test_a_run_without_tuned_cells_has_no_such_section(plausible: ModuleType) -> None:
    """Nothing is said of tuning where none was done."""
    assert "TVM tuning" not in render_html([plausible.quick_run(count=10)])


def test_facts_survive_the_json(plausible: ModuleType) -> None:
    """What the store and `show --json` keep reads back the same."""
    run = plausible.tuned_run()
    assert run == Run.model_validate_json(run.model_dump_json())
