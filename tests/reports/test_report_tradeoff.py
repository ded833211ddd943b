"""What variants cost: the Pareto front, the fastest within a point, ablations, reasons, steps."""

from __future__ import annotations

from types import ModuleType

import pytest
from bakeoff.reports import prices
from bakeoff.reports.ablation import Ablation, ablation
from bakeoff.reports.intervals import Interval
from bakeoff.reports.pareto import Point, dominates, front, staircase
from bakeoff.reports.reasons import has_vnni, moved, remarks
from bakeoff.reports.recipes import full_name, recipe, step_words, without
from bakeoff.reports.results import Cpu, Run
from bakeoff.reports.steps import shape_words, step_views
from bakeoff.reports.tradeoff import Tradeoff, champion_words, keeps, name_of, tradeoffs
from bakeoff.reports.views import CellView, run_view


@pytest.fixture(scope="module")
def run(plausible: ModuleType) -> Run:
    found: Run = plausible.variants_run()
    return found


@pytest.fixture(scope="module")
def labelled(run: Run) -> Tradeoff:
    return tradeoffs(run_view(run))[0]


@pytest.fixture(scope="module")
def unlabelled(run: Run) -> Tradeoff:
    return tradeoffs(run_view(run))[1]


def _point(plausible: ModuleType, median: float, quality: float, spread: float = 0.0) -> Point:
    cell = plausible.measured_cell("m", f"b{median}{quality}", 1)
    bounds = Interval(low=median * 0.99, high=median * 1.01)
    view = CellView(cell=cell.model_copy(update={"median_ms": median}), label="b", interval=bounds)
    return Point(view=view, quality=quality, low=quality - spread, high=quality + spread)


def test_faster_and_as_good_dominates(plausible: ModuleType) -> None:
    """A clear lead in latency with no loss of quality makes the other pointless, not the other way round."""
    fast, slow = _point(plausible, 1.0, 0.98), _point(plausible, 2.0, 0.98)

    assert dominates(fast, slow, 0.01)
    assert not dominates(slow, fast, 0.01)


@pytest.mark.parametrize(
    ("other", "floor"),
    [((2.0, 0.981), 0.0), ((1.01, 0.98), 0.0), ((1.05, 0.98), 0.05)],
    ids=["better", "intervals touch", "noise floor"],
)
def test_what_noise_or_quality_sets_apart_stays(
    plausible: ModuleType, other: tuple[float, float], floor: float
) -> None:
    """A cell of higher quality, or one that intervals and noise floor do not tell from the fastest, is on the front."""
    points = [_point(plausible, 1.0, 0.98), _point(plausible, *other)]

    assert tuple(points) == front(points, floor)


def test_better_beyond_its_interval_dominates_at_a_tie_in_latency(plausible: ModuleType) -> None:
    """Of two cells equally fast, one whose accuracy lies above the other's interval is enough."""
    good, bad = _point(plausible, 1.0, 0.98, 0.01), _point(plausible, 1.001, 0.80, 0.02)

    assert (good,) == front([bad, good], 0.01)


def test_a_cell_without_interval_is_not_ranked(plausible: ModuleType) -> None:
    """A median without an interval is on no front and pushes nobody off it."""
    bare = _point(plausible, 0.1, 0.99)
    bare = Point(view=CellView(cell=bare.view.cell, label="b", interval=None), quality=0.99, low=0.99, high=0.99)
    kept = _point(plausible, 1.0, 0.98)

    assert (kept,) == front([bare, kept], 0.0)


def test_the_staircase_only_rises(plausible: ModuleType) -> None:
    """The line through the front shows the best quality that can be had in a time."""
    points = [_point(plausible, *place) for place in ((1.0, 0.5), (1.001, 0.4), (2.0, 0.9))]

    assert ((1.0, 0.5), (2.0, 0.9)) == staircase(points)


def test_no_point_of_the_front_is_dominated_and_every_other_is(labelled: Tradeoff) -> None:
    """The front of a full run is exactly the undominated part."""
    on_front = set(map(id, labelled.front))

    assert 28 == len(labelled.points)
    for point in labelled.points:
        beaten = any(dominates(other, point, 0.0081) for other in labelled.points)
        assert beaten == (id(point) not in on_front)


def test_accuracy_comes_before_fidelity(labelled: Tradeoff, unlabelled: Tradeoff) -> None:
    """With labels the axis is accuracy; without them it is the agreement with fp32."""
    assert labelled.measure is not None
    assert unlabelled.measure is not None
    assert ("accuracy", "top-1 accuracy") == (labelled.measure.kind, labelled.measure.title)
    assert "agreement" == unlabelled.measure.kind


def test_without_agreement_the_noise_is_the_measure(plausible: ModuleType, run: Run) -> None:
    """A model that is no classifier is told by its signal-to-noise ratio, capped where outputs count as equal."""
    cells = []
    for cell in run.cells:
        like = cell.fidelity
        if cell.model == "mobilenet_v2" and like is not None:
            cells.append(cell.model_copy(update={"fidelity": like.model_copy(update={"top1_agreement": None})}))
    (trade,) = tradeoffs(run_view(run.model_copy(update={"cells": tuple(cells)})))

    assert trade.measure is not None
    assert "snr" == trade.measure.kind
    assert 60.0 == max(point.quality for point in trade.points)
    assert 11.2 == min(point.quality for point in trade.points)


@pytest.mark.parametrize(("low", "expected"), [(-0.0099, True), (-0.01, True), (-0.0101, False)])
def test_within_a_point_is_a_paired_bound(plausible: ModuleType, low: float, expected: bool) -> None:
    """What decides is the most that can have been lost, not the loss that was seen."""
    found = plausible.accuracy("int8", 354).model_copy(update={"vs_fp32_low": low})
    cell = plausible.measured_cell("m", "openvino", 1, variant="m@int8", accuracy=found)

    assert expected == keeps(cell)


@pytest.mark.parametrize(("agreeing", "expected"), [(357, True), (356, False)])
def test_without_labels_the_agreement_decides(plausible: ModuleType, agreeing: int, expected: bool) -> None:
    """At least 99% of the images have to keep their class."""
    cell = plausible.measured_cell("m", "openvino", 1, variant="m@int8", fidelity=plausible.fidelity("int8", agreeing))

    assert expected == keeps(cell)


def test_without_either_nobody_can_say(plausible: ModuleType) -> None:
    """A cell without accuracy and fidelity is not called near; eager in fp32 is what all are compared with."""
    assert keeps(plausible.measured_cell("m", "openvino", 1, variant="m@int8")) is None
    assert keeps(plausible.measured_cell("m", "eager", 1)) is True


def test_the_verdict_names_the_fastest_and_the_fastest_within_a_point(labelled: Tradeoff) -> None:
    """The fastest of all loses more than a point here, so another one is named beside it."""
    first, second = champion_words(labelled)

    assert first.startswith("Fastest: channel50+int8 on openvino at ")
    assert first.endswith("× eager fp32; loses at most 1.9 pp, 95%.")  # noqa: RUF001
    assert second.startswith("Fastest within 1 point of fp32: int8 on openvino at ")


def test_a_fastest_that_stays_near_is_named_once(run: Run) -> None:
    """Where the fastest of all loses less than a point, nobody else is named."""
    cells = tuple(cell for cell in run.cells if "channel50" not in cell.variant)
    first, second = champion_words(tradeoffs(run_view(run.model_copy(update={"cells": cells})))[0])

    assert first.startswith("Fastest: int8 on openvino at ")
    assert "That stays within 1 point of fp32." == second


def test_nobody_near_is_said(run: Run) -> None:
    """Where every cell loses more than a point, the verdict says that none is known to stay near."""
    cells = tuple(cell for cell in run.cells if cell.variant == "digits_resnet@sparse80")
    words = champion_words(tradeoffs(run_view(run.model_copy(update={"cells": cells})))[0])

    assert "No cell is known to stay within 1 point of fp32." == words[1]


def test_random_weights_are_never_called_near(unlabelled: Tradeoff) -> None:
    """Of random weights only speed is said."""
    assert unlabelled.random_weights
    assert unlabelled.within is None
    words = " ".join(champion_words(unlabelled))
    assert words.endswith("Random weights: only speed can be told.")
    assert "agrees" not in words
    assert "loses" not in words


def test_a_run_of_fp32_alone_has_nothing_to_weigh(plausible: ModuleType) -> None:
    """Without variants, accuracy and fidelity there is no trade-off to show."""
    assert () == tradeoffs(run_view(plausible.quick_run(10)))


def _ablation(trade: Tradeoff) -> Ablation:
    found = ablation(trade, 0.0081)
    assert found is not None
    return found


def test_steps_are_taken_one_at_a_time_then_together(labelled: Tradeoff) -> None:
    """Each step is compared with fp32 on its own backend; a combination with the product of its steps."""
    found = _ablation(labelled)
    (together,) = found.combinations
    chain = together.chains["onnxruntime"]

    assert ["int8", "channel50", "sparse80", "fp16"] == [single.steps for single in found.singles]
    assert ("channel50", "int8") == together.parts
    assert chain.product == pytest.approx(chain.parts[0].value * chain.parts[1].value)
    assert chain.together.value == pytest.approx(
        _median(labelled, "fp32", "onnxruntime") / _median(labelled, "channel50+int8", "onnxruntime")
    )
    assert "less than" == chain.against_product
    assert chain.costs == pytest.approx(-(2 + 58) / 360)
    assert "tvm" not in together.chains


def _median(trade: Tradeoff, steps: str, backend: str) -> float:
    (found,) = [view for view in trade.measured if name_of(view) == f"{steps} on {backend}"]
    return found.median_ms


def test_a_missing_single_step_is_named(run: Run) -> None:
    """Without channel50 by itself there is no product, and the table says what is missing."""
    cells = tuple(cell for cell in run.cells if not cell.variant.endswith("@channel50"))
    (together,) = _ablation(tradeoffs(run_view(run.model_copy(update={"cells": cells})))[0]).combinations

    assert ("channel50",) == together.missing
    assert {} == together.chains
    assert "onnxruntime" in together.effects


def test_without_fp32_there_is_no_ablation(run: Run) -> None:
    """Nothing to compare with, nothing to say."""
    cells = tuple(cell for cell in run.cells if not cell.variant.endswith("@fp32"))

    assert ablation(tradeoffs(run_view(run.model_copy(update={"cells": cells})))[0], 0.0) is None


def _remarks(run: Run, kind: str) -> list[str]:
    trade = tradeoffs(run_view(run))[0]
    return [found.text for found in remarks(trade, 0.0081, run.target.cpu) if found.kind == kind]


def test_a_slower_int8_says_why(run: Run) -> None:
    """A lower precision slower than without it is told with what is known: precision executed, fallbacks, tuning."""
    slower = _remarks(run, "slower")
    (tvm,) = [text for text in slower if text.startswith("int8 is slower than fp32 on tvm")]
    (eager,) = [text for text in slower if text.startswith("int8 is slower than fp32 on eager")]

    assert "it executed in fp32 (quantizing and dequantizing were not fused" in tvm
    assert "the backend is untuned" in tvm
    assert "parts ran elsewhere than asked: DequantizeLinear in fp32" in eager
    assert not [text for text in slower if text.startswith("int8 is slower than fp32 on openvino")]
    assert [text for text in slower if text.startswith("channel50+int8 is slower than channel50 on eager")]


def test_a_processor_without_vnni_is_a_reason_where_int8_was_executed(plausible: ModuleType) -> None:
    """Only where integer kernels really ran is their missing unit a reason, and only if known to be missing."""
    quick = plausible.measured_cell("m", "openvino", 1, centre=10.0)
    slow = plausible.measured_cell("m", "openvino", 1, centre=20.0)
    executed = slow.executed.model_copy(update={"precision": "int8"})
    cells = (quick, slow.model_copy(update={"variant": "m@int8", "key": "k", "executed": executed}))
    texts = [
        _remarks(plausible.make_run(cells, target=plausible.target(isa=isa)), "slower")
        for isa in (plausible.OLD_ISA, plausible.ISA, ())
    ]

    assert [1, 1, 1] == [len(found) for found in texts]
    assert texts[0][0].endswith("this CPU has no VNNI.")
    assert texts[1][0].endswith("This run does not tell why.")
    assert texts[2][0].endswith("This run does not tell why.")


def test_zeros_that_bring_nothing_are_named_once_for_all_backends(run: Run) -> None:
    """One sentence for each sparse variant, with the backends that are no faster."""
    (text,) = _remarks(run, "no gain")

    assert text.startswith("The zeros of sparse80 bring nothing on ")
    assert "onnxruntime" in text
    assert "kept in place" in text


def test_saturation_is_only_named_where_the_processor_saturates(plausible: ModuleType, run: Run) -> None:
    """The gap between executed and simulated accuracy is always shown; its reason only where the features say so."""
    (old,) = _remarks(run, "moved")
    (new,) = _remarks(plausible.variants_run(isa=plausible.ISA), "moved")
    (unknown,) = _remarks(plausible.variants_run(isa=()), "moved")

    assert "82.2% as executed and 98.1% simulated in float" in old
    assert "15.8 pp on the same 360 images: saturation of 8-bit products on a CPU without VNNI." in old
    assert "saturation" not in new + unknown


@pytest.mark.parametrize(
    ("value", "simulated", "n", "expected"),
    [
        (0.62, 0.78, 164, True),
        (0.961, 0.981, 360, False),
        (0.961, 0.981, 10_000, True),
        (0.98, 0.98, 10_000, False),
        (0.5, 1.0, 0, False),
        (float("nan"), 0.9, 100, False),
    ],
)
def test_a_difference_has_to_exceed_its_paired_noise(value: float, simulated: float, n: int, expected: bool) -> None:
    """Sixteen points of 164 images are no chance, two points of 360 may be."""
    assert expected == moved(value, simulated, n)


@pytest.mark.parametrize(
    ("isa", "expected"),
    [
        (("avx2",), False),
        (("avx2", "avx_vnni"), True),
        (("avx512f", "avx512_vnni"), True),
        (("neon", "asimddp"), True),
        (("amx_tile", "amx_int8"), True),
        ((), None),
    ],
)
def test_units_for_eight_bits(isa: tuple[str, ...], expected: bool | None) -> None:
    """Features that nobody recorded are not taken for missing."""
    assert expected == has_vnni(Cpu(model="m", arch="x86_64", logical_cores=1, usable_cores=1, isa=isa))


def test_steps_say_what_they_changed(run: Run) -> None:
    """Masks are told from changed shapes, and a step keeps its parameters, seed, versions and hashes."""
    shapes = {facts.variant: shape_words(facts) for facts in run.models}
    (int8,) = step_views(next(facts for facts in run.models if facts.variant == "digits_resnet@int8"))

    assert shapes["digits_resnet@channel50"].endswith("178,378 weights; shapes changed")
    assert shapes["digits_resnet@sparse80"].endswith("701,466 weights, 80.0% of them zero; zeros kept in place")
    assert shapes["digits_resnet@fp32"].endswith("701,466 weights")
    assert ("calibration minmax, images 128", "nncf 3.4.0") == (int8.settings, int8.versions)
    assert 64 == len(int8.before) == len(int8.after)


def test_names_are_read_back_into_steps() -> None:
    """A variant without one of its steps is again a variant; a name that nobody knows has no steps."""
    found = recipe("m@channel50+int8")

    assert "m@channel50" == without("m@channel50+int8", found.steps[1])
    assert "m@int8" == without("m@channel50+int8", found.steps[0])
    assert full_name("m") == without("m@int8", recipe("m@int8").steps[0])
    assert () == recipe("m@<script>").steps
    assert ("", "") == (step_words("nonsense"), step_words("channel50+int8"))
    assert "zeros kept in place" in step_words("sparse80")


@pytest.mark.parametrize(
    ("low", "expected"),
    [
        (-0.0080, "loses at most 0.8 pp, 95%"),
        (-0.00801, "loses at most 0.9 pp, 95%"),
        (0.0, "loses nothing, 95%"),
        (0.01, "loses nothing, 95%"),
        (None, "\N{EN DASH}"),
    ],
)
def test_bounds_are_rounded_away_from_the_value(plausible: ModuleType, low: float | None, expected: str) -> None:
    """A bound that was rounded down would promise more than was measured."""
    assert expected == prices.versus(plausible.accuracy("int8", 354).model_copy(update={"vs_fp32_low": low}))


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (-0.0034, "\N{MINUS SIGN}0.3 pp"),
        (0.012, "+1.2 pp"),
        (0.0, "0.0 pp"),
        (-0.0001, "±0.0 pp"),
        (None, "\N{EN DASH}"),
    ],
)
def test_differences_carry_their_sign(difference: float | None, expected: str) -> None:
    """Percentage points, with a true minus."""
    assert expected == prices.points(difference)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "27.4 dB"),
        ({"snr_db": None, "max_abs_error": 0.0}, "equal"),
        ({"snr_db": float("inf")}, "equal"),
        ({"snr_db": None}, "\N{EN DASH}"),
    ],
)
def test_noise_in_words(plausible: ModuleType, change: dict[str, object], expected: str) -> None:
    """Equal outputs have no noise; a ratio that was not measured is not called equal."""
    assert expected == prices.snr(plausible.fidelity("int8", 360).model_copy(update=change))
