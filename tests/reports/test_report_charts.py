"""Chart specs: valid Vega-Lite, honest about what they leave out."""

from __future__ import annotations

import json
from types import ModuleType

import altair
import pytest
from bakeoff.reports.ablation import ablation
from bakeoff.reports.ablation_chart import waterfall_charts
from bakeoff.reports.charts import latency_chart, samples_chart, speed_up_chart
from bakeoff.reports.drawing import Chart, svg
from bakeoff.reports.palette import styles, variant_shapes
from bakeoff.reports.pareto_chart import pareto_chart
from bakeoff.reports.samples import MAX_POINTS, thinned
from bakeoff.reports.tradeoff import Tradeoff, tradeoffs
from bakeoff.reports.views import RunView, run_view


@pytest.fixture(scope="module")
def view(plausible: ModuleType) -> RunView:
    return run_view(plausible.quick_run(40))


def _charts(view: RunView) -> list[Chart]:
    looks = styles(view.backends)
    made = [make(view.comparisons[0], looks) for make in (latency_chart, samples_chart)]
    return [chart for chart in (*made, speed_up_chart(view, view.settings[0], looks)) if chart is not None]


def test_specs_are_valid_vega_lite(view: RunView) -> None:
    """Every spec passes the Vega-Lite schema."""
    charts = _charts(view)

    assert 3 == len(charts)
    for chart in charts:
        altair.Chart.from_dict(json.loads(json.dumps(chart.spec)))


def test_every_backend_is_drawn(view: RunView) -> None:
    """The static drawing is not empty: it names each backend and its figure, and takes colours from the theme."""
    comparison = view.comparisons[0]
    chart = latency_chart(comparison, styles(view.backends))
    assert chart is not None
    drawn = svg(chart)

    for found in comparison.measured:
        assert found.label in drawn
    assert "var(--b" in drawn


def test_a_far_cell_stays_on_the_chart_with_its_figure_and_mark(view: RunView) -> None:
    """Untuned TVM is drawn at the edge with its figure and is named below."""
    chart = latency_chart(view.comparisons[0], styles(view.backends))
    assert chart is not None
    (far,) = [row for row in chart.spec["data"]["values"] if row["off"]]

    assert "tvm (untuned *)" == far["row"]
    assert far["text"].endswith("ms ▸")
    assert "Off the scale (▸): tvm." in chart.notes
    assert "Marks: tvm: untuned, 88% interval, not converged." in chart.notes


def test_the_axis_is_logarithmic_where_many_cells_are_far(plausible: ModuleType) -> None:
    """If a third of the cells is far from the fastest, the axis holds them all."""
    cells = [
        plausible.measured_cell("resnet18", name, 1, centre=centre)
        for name, centre in (("openvino", 5.0), ("tvm", 500.0), ("eager", 60.0))
    ]
    view = run_view(plausible.make_run(tuple(cells)))
    chart = latency_chart(view.comparisons[0], styles(view.backends))

    assert chart is not None
    assert not any(row["off"] for row in chart.spec["data"]["values"])
    assert '"type": "log"' in json.dumps(chart.spec)


def test_thinning_keeps_the_extremes_and_the_tail() -> None:
    """A thinned curve runs through real samples, from the fastest to the slowest."""
    values = [float(value) for value in range(5000)]
    points = thinned(values)

    assert MAX_POINTS >= len(points)
    assert (0.0, 0.0002) == points[0]
    assert (4999.0, 1.0) == points[-1]
    assert 30 <= sum(1 for _, share in points if share > 0.95)
    assert sorted(points) == list(points)


def test_few_samples_are_all_drawn() -> None:
    """Nothing is thinned that need not be."""
    assert ((1.0, 0.33333), (2.0, 0.66667), (3.0, 1.0)) == thinned([3.0, 1.0, 2.0])


def test_samples_beyond_the_edge_are_counted(plausible: ModuleType) -> None:
    """A sample far out does not squeeze the curve; it is named with its value instead."""
    slow = plausible.measured_cell("resnet18", "openvino", 1, centre=10.0, count=200)
    blocks = (*slow.blocks_ms[:-1], (*slow.blocks_ms[-1][:-1], 900.0))
    view = run_view(plausible.make_run((slow.model_copy(update={"blocks_ms": blocks}),)))
    chart = samples_chart(view.comparisons[0], styles(view.backends))

    assert chart is not None
    assert any("1 sample beyond the right edge, the slowest 900 ms" in note for note in chart.notes)


def test_strangers_get_a_look_of_their_own() -> None:
    """A third-party backend changes nobody else's colour."""
    known, more = styles(["openvino"]), styles(["openvino", "aaa"])

    assert known["openvino"].light == more["openvino"].light
    assert more["aaa"].light != more["openvino"].light


@pytest.fixture(scope="module")
def variants(plausible: ModuleType) -> RunView:
    return run_view(plausible.variants_run())


def _pareto(trade: Tradeoff, view: RunView) -> Chart:
    chart = pareto_chart(trade, styles(view.backends))
    assert chart is not None
    return chart


def test_the_charts_of_variants_are_valid_vega_lite(variants: RunView) -> None:
    """The Pareto front and the waterfall pass the Vega-Lite schema, and their static drawings name what they show."""
    looks = styles(variants.backends)
    for trade in tradeoffs(variants):
        waterfalls = waterfall_charts(trade, ablation(trade, variants.floor), looks)
        assert 1 == len(waterfalls)
        for chart in (_pareto(trade, variants), *waterfalls):
            altair.Chart.from_dict(json.loads(json.dumps(chart.spec)))
            drawn = svg(chart)
            assert "var(--b" in drawn
            assert "channel50+int8 on openvino" in drawn or "together" in drawn


def test_the_front_is_labelled_in_every_layout(variants: RunView) -> None:
    """Each point of the front has a place in each layout or is counted; no other point has one."""
    chart = _pareto(tradeoffs(variants)[0], variants)
    rows = chart.spec["data"]["values"]
    layouts = chart.spec["usermeta"]["layouts"]

    assert layouts == sorted(layouts, key=lambda layout: -layout["width"])
    for layout in layouts:
        assert len(rows) == len(layout["places"])
        said = [row["front"] for row, place in zip(rows, layout["places"], strict=True) if place is not None]
        assert all(said)
        assert sum(row["front"] for row in rows) == len(said) + layout["unlabelled"]
    assert [row["say"] for row in rows] == [place is not None for place in layouts[0]["places"]]


def test_points_off_the_scale_are_named(variants: RunView) -> None:
    """Untuned cells far to the right are not drawn, but told with their figures."""
    chart = _pareto(tradeoffs(variants)[0], variants)
    (note,) = [note for note in chart.notes if note.startswith("Off the scale")]

    assert "fp32 on tvm" in note
    drawn = {(row["steps"], row["label"]) for row in chart.spec["data"]["values"]}
    assert ("fp32", "tvm") not in drawn
    assert ("channel50", "tvm") in drawn


def test_random_weights_are_said_beside_the_chart(variants: RunView) -> None:
    """How far the outputs of random weights move is no accuracy."""
    chart = _pareto(tradeoffs(variants)[1], variants)

    assert any(note.startswith("Random weights") for note in chart.notes)


def test_bars_of_the_waterfall_start_where_the_one_before_ends(variants: RunView) -> None:
    """One step at a time, then all together from the start; the text at each bar has its price."""
    trade = tradeoffs(variants)[0]
    (chart,) = waterfall_charts(trade, ablation(trade, variants.floor), styles(variants.backends))
    channel, int8, together = [row for row in chart.spec["data"]["values"] if row["label"] == "onnxruntime"]

    assert (1.0, 1.0) == (channel["from"], together["from"])
    assert channel["to"] == int8["from"]
    assert together["to"] < int8["to"]
    assert "\N{MINUS SIGN}16.1 pp" in int8["text"]


def test_no_point_no_chart(plausible: ModuleType) -> None:
    """One priced cell is no front to draw."""
    cell = plausible.measured_cell("m", "openvino", 1, accuracy=plausible.accuracy("fp32", 354))
    view = run_view(plausible.make_run((cell,)))

    assert pareto_chart(tradeoffs(view)[0], styles(view.backends)) is None


def test_each_variant_has_a_shape_of_its_own() -> None:
    """A dozen variants are told apart by shape; the order of the run decides."""
    names = [f"v{number}" for number in range(12)]

    assert 12 == len(set(variant_shapes(names).values()))
    assert "circle" == variant_shapes(names)["v0"]
