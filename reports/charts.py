"""The charts of a run: medians with intervals, all samples, and speed-up over eager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import samples, words
from .drawing import Chart, Spec, Styles, chart_label, finished, log_ticks, mark_notes, tooltip
from .views import CellView, Comparison, RunView, Setting

__all__ = ["latency_chart", "samples_chart", "speed_up_chart"]

_STRETCHED = 6.0
"""A figure more than this many times away from the best would squeeze the others on the axis."""


def _room(pixels: int) -> list[Any]:
    """A scale range that leaves *pixels* at the right for the figure beside the last mark, however narrow the plot."""
    return [0, {"expr": f"max(40, width - {pixels})"}]


_NEAR = {"filter": "!datum.off"}
_FAR = {"filter": "datum.off"}
_INK = {"value": "var(--ink)"}


def _colours(names: Sequence[str], styles: Styles) -> Spec:
    return {"domain": list(names), "range": [styles[name].colour for name in names]}


def _latency_row(view: CellView, start: float, edge: float) -> Spec:
    off = view.median_ms > edge
    bounds = None if off else view.interval
    figure = f"{words.ms(view.median_ms)} ms"
    return {
        "row": chart_label(view),
        "backend": view.cell.backend,
        "label": view.label,
        "start": start,
        "x": edge if off else round(view.median_ms, 5),
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
    tops = [view.interval.high if view.interval else view.median_ms for view in views]
    near = [top for top, median in zip(tops, medians, strict=True) if median <= _STRETCHED * min(medians)]
    if 3 * (len(medians) - len(near)) >= len(medians):
        lows = [view.interval.low if view.interval else view.median_ms for view in views]
        return True, [max(min(lows), 1e-6) / 1.4, max(tops)], max(tops)
    return False, [0.0, max(near)], max(near)


def _latency_body(backends: Sequence[str], styles: Styles, x: Spec) -> Spec:
    tips = tooltip(label="backend", figure="median", interval="interval", p99="p99", samples="samples", marks="marks")
    place: Spec = {"field": "x", "type": "quantitative", **x}
    dash = {"condition": {"test": "datum.off", "value": [2, 3]}, "value": [1, 0]}
    return {
        "encoding": {
            "y": {"field": "row", "type": "nominal", "sort": None, "title": None},
            "color": {"field": "backend", "type": "nominal", "scale": _colours(backends, styles), "legend": None},
            "tooltip": tips,
        },
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.4},
                "encoding": {"x": {"field": "start", "type": "quantitative"}, "x2": {"field": "x"}, "strokeDash": dash},
            },
            {
                "mark": {"type": "bar", "height": 13, "opacity": 0.35},
                "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
            },
            {
                "transform": [_NEAR],
                "mark": {"type": "tick", "thickness": 3, "size": 17, "opacity": 1},
                "encoding": {"x": place},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 8},
                "encoding": {"x": place, "text": {"field": "text", "type": "nominal"}, "color": _INK},
            },
        ],
    }


def latency_chart(comparison: Comparison, styles: Styles) -> Chart | None:
    """Median latency of each cell with its interval, fastest first; None where nothing was measured."""
    views = comparison.measured
    if not views:
        return None
    log, domain, edge = _latency_scale(views)
    rows = [_latency_row(view, domain[0], edge) for view in views]
    x: Spec = {
        "title": "milliseconds, logarithmic" if log else "milliseconds",
        "scale": {"type": "log" if log else "linear", "domain": domain, "nice": False, "range": _room(68)},
        "axis": {"values": log_ticks(*domain)[-8:], "format": "~g"} if log else {"tickCount": 5},
    }
    title = f"Median latency, {comparison.setting.title}"
    listing = ", ".join(f"{view.marked_label} {words.ms(view.median_ms)} ms" for view in views)
    description = f"{title}, for {comparison.variant}: {listing}"
    far = [view.label for view in views if view.median_ms > edge]
    notes = [f"Off the scale (▸): {words.listed(far)}."] if far else []
    body = _latency_body(list(dict.fromkeys(view.cell.backend for view in views)), styles, x)
    spec = finished(body, rows, description, 28 * len(rows))
    return Chart(title=title, description=description, spec=spec, notes=(*notes, *mark_notes(views)))


def _samples_body(found: samples.Curves, styles: Styles) -> Spec:
    names = [chart_label(curve.view) for curve in found.curves]
    looks = [styles[curve.view.cell.backend] for curve in found.curves]
    legend = {"title": None, "symbolType": "stroke", "symbolSize": 320, "symbolStrokeWidth": 2.5}
    colours = {"domain": names, "range": [look.colour for look in looks]}
    dashes = {"domain": names, "range": [list(look.dash) for look in looks]}
    span = {"domain": [found.low, found.high], "nice": False}
    return {
        "params": [{"name": "pick", "select": {"type": "point", "fields": ["row"]}, "bind": "legend"}],
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "clip": True},
        "encoding": {
            "x": {
                "field": "ms",
                "type": "quantitative",
                "title": "milliseconds",
                "scale": span,
                "axis": {"tickCount": 5},
            },
            "y": {
                "field": "share",
                "type": "quantitative",
                "title": None,
                "axis": {"format": "%", "tickCount": 4},
                "scale": {"domain": [0, 1]},
            },
            "color": {"field": "row", "type": "nominal", "scale": colours, "legend": legend},
            "strokeDash": {"field": "row", "type": "nominal", "scale": dashes},
            "opacity": {"condition": {"param": "pick", "value": 1}, "value": 0.15},
            "tooltip": [
                {"field": "row", "type": "nominal", "title": "backend"},
                {"field": "ms", "type": "quantitative", "title": "milliseconds", "format": ".4~g"},
                {"field": "share", "type": "quantitative", "title": "share of samples", "format": ".1%"},
            ],
        },
    }


def samples_chart(comparison: Comparison, styles: Styles) -> Chart | None:
    """Share of samples that took at most so long, one curve a cell; None where no samples were kept."""
    found = samples.curves(comparison.measured)
    if not found.curves:
        return None
    views = [curve.view for curve in found.curves]
    rows = [{"row": chart_label(c.view), "ms": ms, "share": share} for c in found.curves for ms, share in c.points]
    spread = ", ".join(
        f"{view.marked_label} p50 {words.ms(view.cell.median_ms)} ms, p99 {words.ms(view.cell.p99_ms)} ms"
        for view in views
    )
    description = f"Cumulative distribution of the latency of {comparison.variant}: {spread}"
    return Chart(
        title=f"All samples, {comparison.setting.title}",
        description=description,
        spec=finished(_samples_body(found, styles), rows, description, 190),
        notes=(*found.notes, *mark_notes(views)),
    )


def _speed_ups(comparisons: Sequence[Comparison]) -> list[tuple[CellView, float]]:
    """(cell, speed-up) of all cells that have one, the baseline itself left out."""
    return [
        (view, view.speed_up.value)
        for comparison in comparisons
        for view in comparison.measured
        if view.speed_up is not None and not view.speed_up.is_baseline
    ]


def _speed_up_row(view: CellView, gain: float, edge: float, left: float) -> Spec:
    off = gain < edge
    bounds = view.speed_up.interval if view.speed_up else None
    figure = words.times(gain)
    return {
        "variant": view.cell.variant,
        "backend": view.cell.backend,
        "lane": view.label,
        "start": 1.0,
        "x": left if off else gain,
        "low": bounds.low if bounds and not off else None,
        "high": bounds.high if bounds and not off else None,
        "off": off,
        "text": f"◂ {figure} {chart_label(view)}" if off else figure,
        "hollow": bool(view.marks),
        "figure": figure,
        "interval": f"{words.times(bounds.low)} to {words.times(bounds.high)}" if bounds else words.MISSING,
        "marks": view.mark_words or "none",
    }


def _speed_up_layers(colour: Spec, shape: Spec, x: Spec) -> list[Spec]:
    text = {"field": "text", "type": "nominal"}
    small = {"type": "text", "align": "left", "fontSize": 11}
    halo = {**small, "stroke": "var(--surface)", "strokeWidth": 4, "strokeJoin": "round"}
    hollow = {"condition": {"test": "datum.hollow", "value": "var(--surface)"}, **colour}
    start = {"field": "start", "type": "quantitative"}
    low = {"field": "low", "type": "quantitative"}
    return [
        {
            "transform": [_NEAR],
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.45},
            "encoding": {"x": start, "x2": {"field": "x"}},
        },
        {
            "transform": [_NEAR],
            "mark": {"type": "bar", "height": 8, "opacity": 0.3},
            "encoding": {"x": low, "x2": {"field": "high"}},
        },
        {
            "transform": [_NEAR],
            "mark": {"type": "point", "size": 52, "strokeWidth": 2, "opacity": 1},
            "encoding": {"x": x, "shape": shape, "fill": hollow},
        },
        {
            "transform": [_NEAR],
            "mark": {**small, "dx": 8},
            "encoding": {"x": x, "text": text, "color": {"value": "var(--muted)"}},
        },
        {"transform": [_FAR], "mark": halo, "encoding": {"x": x, "text": text, "color": {"value": "var(--surface)"}}},
        {"transform": [_FAR], "mark": small, "encoding": {"x": x, "text": text}},
    ]


def _speed_up_axis(gains: Sequence[float], over: str) -> tuple[float, Spec]:
    """Smallest speed-up that is drawn to scale, and the x channel; smaller ones are written at the left edge."""
    top = max(1.0, *gains)
    edge = min(1.0, *(gain for gain in gains if gain * _STRETCHED >= top), top)
    domain = [edge / 1.15, top * 1.05]
    ticks = (
        log_ticks(*domain) if domain[1] / domain[0] > 8 else [tick for tick in _FINE if domain[0] <= tick <= domain[1]]
    )
    return edge, {
        "field": "x",
        "type": "quantitative",
        "title": f"times as fast as {over}, logarithmic",
        "scale": {"type": "log", "domain": domain, "nice": False, "range": _room(44)},
        "axis": {"values": ticks, "format": "~g", "labelExpr": "datum.label + '\\u00d7'"},
    }


_FINE = (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0)


def speed_up_chart(run: RunView, setting: Setting, styles: Styles) -> Chart | None:
    """Speed-up over eager by variant and backend at *setting*; None where no cell has a baseline."""
    shown = _speed_ups(run.at(setting))
    if not shown:
        return None
    edge, x = _speed_up_axis([gain for _, gain in shown], run.over)
    rows = [_speed_up_row(view, gain, edge, x["scale"]["domain"][0]) for view, gain in shown]
    backends = sorted({view.cell.backend for view, _ in shown})
    lanes = sorted({view.label for view, _ in shown})
    legend: dict[str, Any] = {"title": None, "symbolSize": 80, "symbolOpacity": 1}
    kind = {"field": "backend", "type": "nominal", "legend": legend}
    colour = {**kind, "scale": _colours(backends, styles)}
    shape = {**kind, "scale": {"domain": backends, "range": [styles[name].shape for name in backends]}}
    tips = tooltip(variant="variant", lane="backend", figure="speed-up", interval="interval", marks="marks")
    bands = {"paddingInner": 0.3, "paddingOuter": 0.15}
    one = {
        "data": {"values": [{"x": 1}]},
        "mark": {"type": "rule", "strokeWidth": 1.5, "color": "var(--muted)"},
        "encoding": {"x": x},
    }
    encoding = {
        "y": {"field": "variant", "type": "nominal", "sort": None, "title": None, "scale": bands},
        "yOffset": {"field": "lane", "type": "nominal", "sort": lanes},
        "color": colour,
        "tooltip": tips,
    }
    body = {"layer": [one, {"encoding": encoding, "layer": _speed_up_layers(colour, shape, x)}]}
    title = f"Speed-up over {run.over}, {setting.title}"
    listing = ", ".join(f"{row['variant']} {row['lane']} {row['figure']} (marks: {row['marks']})" for row in rows)
    marks = mark_notes(view for view, _ in shown)
    height = len({row["variant"] for row in rows}) * (13 * len(lanes) + 18)
    return Chart(
        title=title,
        description=f"{title}: {listing}",
        spec=finished(body, rows, f"{title}: {listing}", height),
        notes=("Hollow points carry a mark.", *marks) if marks else (),
    )
