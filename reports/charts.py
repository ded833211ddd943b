"""The charts of a run. Each has a spec of its own: nested concatenations can come out empty without an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import samples, words
from .drawing import Chart, Styles, chart_label, colour_scale, finished, mark_notes
from .views import CellView, Comparison, RunView, Setting

__all__ = ["latency_chart", "samples_chart", "speed_up_chart"]

_ROW = 28
_STRETCHED = 6.0
"""A median more than this many times the smallest would squeeze the others on a linear axis."""

_DECADES = (1, 2, 5)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between *low* and *high*."""
    found = [digit * 10.0**power for power in range(-6, 9) for digit in _DECADES]
    return [tick for tick in found if low <= tick <= high]


def _latency_row(view: CellView, edge: float) -> dict[str, Any]:
    off = view.median_ms > edge
    bounds = None if off else view.interval
    figure = f"{words.ms(view.median_ms)} ms"
    return {
        "row": chart_label(view),
        "backend": view.cell.backend,
        "label": view.label,
        "x": edge if off else round(view.median_ms, 5),
        "start": 0.0,
        "low": bounds.low if bounds else None,
        "high": min(bounds.high, edge) if bounds else None,
        "text": f"{figure} ▸" if off else figure,
        "off": off,
        "figure": figure,
        "interval": f"{words.interval_ms(view.interval, view.median_ms)} ms",
        "p99": f"{words.ms(view.cell.p99_ms)} ms",
        "samples": view.cell.samples,
        "marks": view.mark_words or "none",
    }


def _latency_scale(views: Sequence[CellView]) -> tuple[bool, list[float], float]:
    """(logarithmic?, axis domain, right edge) in milliseconds.

    A few far cells are drawn at the edge with their figure, so that the near ones stay legible; where a third or more
    of the cells are far, the axis is logarithmic and holds them all.
    """
    medians = [view.median_ms for view in views]
    near = [median for median in medians if median <= _STRETCHED * min(medians)]
    tops = [view.interval.high if view.interval else view.median_ms for view in views]
    if 3 * (len(medians) - len(near)) >= len(medians):
        lows = [view.interval.low if view.interval else view.median_ms for view in views]
        return True, [max(min(lows), 1e-6) / 1.4, max(tops) * 4], max(tops) * 4
    top = max(top for top, median in zip(tops, medians, strict=True) if median in near)
    return False, [0.0, top * 1.25], top * 1.02


def latency_chart(comparison: Comparison, styles: Styles) -> Chart | None:
    """Median latency of each cell with its interval, fastest first; None where nothing was measured."""
    import altair as alt

    views = comparison.measured
    if not views:
        return None
    log, domain, edge = _latency_scale(views)
    rows = [_latency_row(view, edge) | {"start": domain[0]} for view in views]
    scale = alt.Scale(type="log" if log else "linear", domain=domain, nice=False)
    ticks = alt.Axis(values=_ticks(*domain)[-8:], format="~g") if log else alt.Axis(tickCount=5)
    x = alt.X("x:Q", title="milliseconds, logarithmic" if log else "milliseconds", scale=scale, axis=ticks)
    backends = list(dict.fromkeys(view.cell.backend for view in views))
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("row:N", sort=None, title=None),
        color=alt.Color("backend:N", scale=colour_scale(alt, backends, styles), legend=None),
        tooltip=_tooltip(
            label="backend", figure="median", interval="interval", p99="p99", samples="samples", marks="marks"
        ),
    )
    dash = alt.condition("datum.off", alt.value([2, 3]), alt.value([1, 0]))
    layers = (
        base.mark_rule(strokeWidth=2, opacity=0.4).encode(x="start:Q", x2="x:Q", strokeDash=dash),
        base.mark_bar(height=13, opacity=0.35).encode(x="low:Q", x2="high:Q"),
        base.transform_filter("!datum.off").mark_tick(thickness=3, size=17, opacity=1).encode(x=x),
        base.mark_text(align="left", dx=8).encode(x=x, text="text:N", color=alt.value("var(--ink)")),
    )
    title = f"Median latency, {comparison.setting.title}"
    listing = ", ".join(f"{view.marked_label} {words.ms(view.median_ms)} ms" for view in views)
    description = f"{title}, for {comparison.variant}: {listing}"
    far = [view for view in views if view.median_ms > edge]
    notes = [f"Off the scale (▸): {words.listed([view.label for view in far])}."] if far else []
    marks = mark_notes((view.label, view) for view in views)
    spec = finished(alt.layer(*layers), description, _ROW * len(rows))
    return Chart(title=title, description=description, spec=spec, notes=(*notes, *marks))


def _tooltip(**fields: str) -> list[Any]:
    import altair as alt

    return [alt.Tooltip(f"{name}:N", title=title) for name, title in fields.items()]


def samples_chart(comparison: Comparison, styles: Styles) -> Chart | None:
    """Share of samples that took at most so long, one curve a cell; None where no samples were kept."""
    import altair as alt

    found = samples.curves(comparison.measured)
    if not found.curves:
        return None
    views = [curve.view for curve in found.curves]
    values = [{"row": chart_label(c.view), "ms": ms, "share": share} for c in found.curves for ms, share in c.points]
    names = [chart_label(view) for view in views]
    looks = [styles[view.cell.backend] for view in views]
    pick = alt.selection_point(fields=["row"], bind="legend", name="pick")
    legend = alt.Legend(title=None, symbolType="stroke", symbolSize=320, symbolStrokeWidth=2.5)
    colours = alt.Scale(domain=names, range=[look.colour for look in looks])
    dashes = alt.Scale(domain=names, range=[list(look.dash) for look in looks])
    span = alt.Scale(domain=[found.low, found.high], nice=False)
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_line(interpolate="step-after", strokeWidth=2, clip=True)
        .encode(
            x=alt.X("ms:Q", title="milliseconds", scale=span, axis=alt.Axis(tickCount=5)),
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=4), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("row:N", scale=colours, legend=legend),
            strokeDash=alt.StrokeDash("row:N", scale=dashes),
            opacity=alt.condition(pick, alt.value(1), alt.value(0.15)),
            tooltip=[
                alt.Tooltip("row:N", title="backend"),
                alt.Tooltip("ms:Q", title="milliseconds", format=".4~g"),
                alt.Tooltip("share:Q", title="share of samples", format=".1%"),
            ],
        )
        .add_params(pick)
    )
    title = f"All samples, {comparison.setting.title}"
    spread = ", ".join(
        f"{v.marked_label} p50 {words.ms(v.cell.median_ms)} ms, p99 {words.ms(v.cell.p99_ms)} ms" for v in views
    )
    description = f"Cumulative distribution of the latency of {comparison.variant}: {spread}"
    marks = mark_notes((view.label, view) for view in views)
    return Chart(
        title=title, description=description, spec=finished(chart, description, 190), notes=(*found.notes, *marks)
    )


def _speed_ups(comparisons: Sequence[Comparison]) -> list[tuple[Comparison, CellView]]:
    return [
        (comparison, view)
        for comparison in comparisons
        for view in comparison.measured
        if view.speed_up is not None and not view.speed_up.is_baseline
    ]


def _speed_up_row(comparison: Comparison, view: CellView, edge: float, left: float) -> dict[str, Any]:
    gain = view.speed_up
    if gain is None:
        raise ValueError(f"{view.cell.key} has no speed-up")
    off = gain.value < edge
    bounds = gain.interval
    figure = words.times(gain.value)
    return {
        "variant": comparison.variant,
        "backend": view.cell.backend,
        "lane": view.label,
        "start": 1.0,
        "x": left if off else gain.value,
        "low": bounds.low if bounds and not off else None,
        "high": bounds.high if bounds and not off else None,
        "off": off,
        "text": f"◂ {figure} {chart_label(view)}" if off else figure,
        "hollow": bool(view.marks),
        "figure": figure,
        "interval": f"{words.times(bounds.low)} to {words.times(bounds.high)}" if bounds else words.MISSING,
        "marks": view.mark_words or "none",
    }


def speed_up_chart(run: RunView, setting: Setting, styles: Styles) -> Chart | None:
    """Speed-up over eager by variant and backend at *setting*; None where no cell has a baseline."""
    import altair as alt

    shown = _speed_ups(run.at(setting))
    if not shown:
        return None
    gains = [view.speed_up.value for _, view in shown if view.speed_up is not None]
    top = max(1.0, *gains)
    edge = min(1.0, *(gain for gain in gains if gain * _STRETCHED >= top), top)
    domain = [edge / 1.15, top * 1.3]
    rows = [_speed_up_row(comparison, view, edge, domain[0]) for comparison, view in shown]
    ticks = _ticks(*domain) if domain[1] / domain[0] > 8 else [t for t in _FINE if domain[0] <= t <= domain[1]]
    axis = alt.Axis(values=ticks, labelExpr="datum.label + '\\u00d7'", format="~g")
    scale = alt.Scale(type="log", domain=domain, nice=False)
    x = alt.X("x:Q", title="times as fast as eager, logarithmic", scale=scale, axis=axis)
    backends = sorted({view.cell.backend for _, view in shown})
    lanes = sorted({view.label for _, view in shown})
    legend = alt.Legend(title=None, symbolSize=80, symbolOpacity=1)
    colour = alt.Color("backend:N", scale=colour_scale(alt, backends, styles), legend=legend)
    shapes = alt.Scale(domain=backends, range=[styles[name].shape for name in backends])
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("variant:N", sort=None, title=None, scale=alt.Scale(paddingInner=0.3, paddingOuter=0.15)),
        yOffset=alt.YOffset("lane:N", sort=lanes),
        color=colour,
        tooltip=_tooltip(variant="variant", lane="backend", figure="speed-up", interval="interval", marks="marks"),
    )
    one = alt.Chart(alt.Data(values=[{"x": 1}])).mark_rule(strokeWidth=1.5, color="var(--muted)").encode(x=x)
    near = base.transform_filter("!datum.off")
    layers = (
        one,
        near.mark_rule(strokeWidth=1.5, opacity=0.45).encode(x="start:Q", x2="x:Q"),
        near.mark_bar(height=8, opacity=0.3).encode(x="low:Q", x2="high:Q"),
        near.mark_point(size=52, strokeWidth=2, opacity=1).encode(
            x=x,
            shape=alt.Shape("backend:N", scale=shapes, legend=legend),
            fill=alt.condition("datum.hollow", alt.value("var(--surface)"), colour),
        ),
        near.mark_text(align="left", dx=8, fontSize=11).encode(x=x, text="text:N", color=alt.value("var(--muted)")),
        base.transform_filter("datum.off").mark_text(align="left", fontSize=11).encode(x=x, text="text:N"),
    )
    title = f"Speed-up over eager, {setting.title}"
    listing = ", ".join(f"{row['variant']} {row['lane']} {row['figure']} (marks: {row['marks']})" for row in rows)
    height = len({row["variant"] for row in rows}) * (13 * len(lanes) + 18)
    marks = mark_notes((f"{view.label} for {comparison.variant}", view) for comparison, view in shown)
    notes = ("Hollow points carry a mark.", *marks) if marks else ()
    spec = finished(alt.layer(*layers), f"{title}: {listing}", height)
    return Chart(title=title, description=f"{title}: {listing}", spec=spec, notes=notes)


_FINE = (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0)
