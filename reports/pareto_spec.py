"""How the chart of latency against quality is drawn: its frame, axes, layers and legends as Vega-Lite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from . import labels
from .drawing import CONFIG, Spec, Styles, tooltip
from .palette import variant_shapes
from .pareto import Point, staircase
from .recipes import steps_of
from .tradeoff import Tradeoff

__all__ = ["HEIGHT", "Frame", "pareto_spec"]

HEIGHT = 330
"""Of the plot without its axis, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The stretch of both axes."""

    fast: float
    slow: float
    """Milliseconds at the left and the right edge; logarithmic."""
    worst: float
    best: float

    def pixel(self, ms: float, quality: float, width: float) -> tuple[float, float]:
        """Where a point is drawn in a plot *width* pixels wide."""
        x = width * math.log(ms / self.fast) / math.log(self.slow / self.fast)
        return x, HEIGHT * (self.best - quality) / (self.best - self.worst)

    def place(self, x: float, y: float, width: float) -> tuple[float, float]:
        """The milliseconds and the quality of a pixel."""
        ms = self.fast * math.exp(x / width * math.log(self.slow / self.fast))
        return round(ms, 7), round(self.best - y / HEIGHT * (self.best - self.worst), 6)


@dataclass(frozen=True, kw_only=True)
class _Looks:
    """The channels that tell backends and variants apart."""

    colour: Spec
    shape: Spec


_STACKED = {
    "columns": 6,
    "layout": {"expr": "{offset: 16, bottom: {direction: 'vertical', anchor: 'start', margin: 6}}"},
}
"""Two legends, one below the other."""

_PICKED: Spec = {"and": [{"param": "backends"}, {"param": "variants"}]}
_INK = {"value": "var(--ink)"}


def _shown(full: float, faint: float = 0.06) -> Spec:
    return {"condition": {"test": _PICKED, "value": full}, "value": faint}


def _axes(trade: Tradeoff, frame: Frame) -> tuple[Spec, Spec]:
    share = trade.measure is None or trade.measure.kind != "snr"
    x = {
        "field": "ms",
        "type": "quantitative",
        "title": "median latency in milliseconds, logarithmic",
        "scale": {"type": "log", "domain": [frame.fast, frame.slow], "nice": False},
        "axis": {"values": _ticks(frame.fast, frame.slow), "format": "~g"},
    }
    title = trade.measure.title if trade.measure else ""
    y = {
        "field": "q",
        "type": "quantitative",
        "title": title,
        "scale": {"domain": [frame.worst, frame.best], "zero": False, "nice": False},
        "axis": {"format": ".1~%" if share else "~g", "tickCount": 6},
    }
    return x, y


def _ticks(low: float, high: float) -> list[float]:
    digits = (1, 2, 5) if high / low > 5 else (1, 1.5, 2, 3, 4, 5, 7)
    found = [digit * 10.0**power for power in range(-6, 9) for digit in digits]
    return [tick for tick in found if low <= tick <= high]


def _points_layers(x: Spec, y: Spec, looks: _Looks) -> list[Spec]:
    tips = tooltip(
        steps="variant",
        label="backend",
        median="median",
        interval="interval",
        accuracy="accuracy",
        loss="against fp32",
        fidelity="fidelity",
        marks="marks",
    )
    strength = [
        {"test": {"and": [*_PICKED["and"], "datum.front"]}, "value": 1},
        {"test": _PICKED, "value": 0.55},
    ]
    encoding = {
        "x": x,
        "y": y,
        "color": looks.colour,
        "shape": looks.shape,
        "opacity": {"condition": strength, "value": 0.06},
        "tooltip": tips,
    }
    params = [
        {"name": "backends", "select": {"type": "point", "fields": ["backend"]}, "bind": "legend"},
        {"name": "variants", "select": {"type": "point", "fields": ["steps"]}, "bind": "legend"},
    ]
    mark = {"type": "point", "size": 64, "strokeWidth": 1.8}
    return [
        {
            "params": params,
            "transform": [{"filter": "!datum.hollow"}],
            "mark": {**mark, "size": 90, "filled": True},
            "encoding": encoding,
        },
        {
            "transform": [{"filter": "datum.hollow"}],
            "mark": {**mark, "filled": False, "fill": "var(--surface)"},
            "encoding": encoding,
        },
    ]


def _layers(x: Spec, y: Spec, looks: _Looks, stairs: Sequence[Spec]) -> list[Spec]:
    said = {"filter": "datum.say"}
    text = {"field": "text", "type": "nominal"}
    plain: Spec = {"type": "text", "align": "left", "baseline": "middle", "fontSize": labels.EM}
    at = {"x": {"field": "lx", "type": "quantitative"}, "y": {"field": "ly", "type": "quantitative"}}
    halo: Spec = {**plain, "stroke": "var(--surface)", "strokeWidth": 4, "strokeJoin": "round"}
    bars = {"type": "rule", "strokeWidth": 1.6}
    quiet = looks.colour
    return [
        {
            "data": {"values": list(stairs)},
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.4, "strokeDash": [4, 3]},
            "encoding": {"x": x, "y": y, "color": {"value": "var(--muted)"}},
        },
        {
            "mark": bars,
            "encoding": {
                "x": {**x, "field": "low"},
                "x2": {"field": "high"},
                "y": y,
                "color": quiet,
                "opacity": _shown(0.4, 0.03),
            },
        },
        {
            "mark": bars,
            "encoding": {
                "x": x,
                "y": {**y, "field": "worse"},
                "y2": {"field": "better"},
                "color": quiet,
                "opacity": {
                    "condition": [
                        {"test": {"and": [*_PICKED["and"], "datum.front"]}, "value": 0.55},
                        {"test": _PICKED, "value": 0.16},
                    ],
                    "value": 0.03,
                },
            },
        },
        *_points_layers(x, y, looks),
        {
            "transform": [said],
            "mark": {"type": "rule", "strokeWidth": 1},
            "encoding": {
                "x": {"field": "ms", "type": "quantitative"},
                "y": {"field": "q", "type": "quantitative"},
                "x2": {"field": "ex"},
                "y2": {"field": "ey"},
                "color": {"value": "var(--muted)"},
                "opacity": _shown(0.8),
            },
        },
        {
            "transform": [said],
            "mark": halo,
            "encoding": {**at, "text": text, "color": {"value": "var(--surface)"}, "opacity": _shown(1, 0)},
        },
        {
            "transform": [said],
            "mark": plain,
            "encoding": {**at, "text": text, "color": _INK, "opacity": _shown(1, 0.1)},
        },
    ]


def _looks(points: Sequence[Point], trade: Tradeoff, styles: Styles) -> _Looks:
    backends = sorted({point.view.cell.backend for point in points})
    shown = {steps_of(point.view.cell.variant) for point in points}
    shapes = {
        name: shape
        for name, shape in variant_shapes(steps_of(variant) for variant in trade.variants).items()
        if name in shown
    }
    legend = {"title": None, "symbolSize": 80, "symbolOpacity": 1}
    inked = {**legend, "symbolFillColor": "var(--muted)", "symbolStrokeColor": "var(--muted)"}
    return _Looks(
        colour={
            "field": "backend",
            "type": "nominal",
            "scale": {"domain": backends, "range": [styles[name].colour for name in backends]},
            "legend": {**legend, "symbolType": "circle"},
        },
        shape={
            "field": "steps",
            "type": "nominal",
            "scale": {"domain": list(shapes), "range": list(shapes.values())},
            "legend": inked,
        },
    )


def pareto_spec(trade: Tradeoff, points: Sequence[Point], rows: Sequence[Spec], frame: Frame, styles: Styles) -> Spec:
    """The spec over *rows*, one for each of *points*; the caller sets "description" and "usermeta", and the width."""
    looks = _looks(points, trade, styles)
    stairs = [{"ms": ms, "q": quality} for ms, quality in staircase(trade.front)]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "height": HEIGHT,
        "padding": {"left": 0, "right": 6, "top": 6, "bottom": 6},
        "data": {"values": list(rows)},
        "config": {**CONFIG, "legend": {**CONFIG["legend"], **_STACKED}},
        "layer": _layers(*_axes(trade, frame), looks, stairs),
    }
