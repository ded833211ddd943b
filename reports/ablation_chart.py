"""The waterfall of steps: each speed-up from where the one before ended, then all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import words
from .ablation import Ablation, Chain, Combination, Effect, price_of
from .drawing import Chart, Spec, Styles, finished, mark_notes, tooltip
from .labels import shortened, text_width
from .tradeoff import Tradeoff

__all__ = ["waterfall_charts"]

_TOGETHER = "together"
_ROOM = 210
"""Pixels at the right that the words beside the bars take at most."""
_LANE = 15
"""Pixels of one bar with its gap."""


def _row(label: str, lane: str, start: float, found: Effect) -> Spec:
    """A bar from *start* times to *start* times the step's own speed-up; on a log axis its length is the step's own."""
    bounds = found.bounds
    price = price_of(found.view)
    figure = words.times(found.value)
    return {
        "backend": found.view.cell.backend,
        "label": label,
        "lane": lane,
        "from": round(start, 6),
        "to": round(start * found.value, 6),
        "edge": round(max(start, start * found.value), 6),
        "low": round(start * bounds.low, 6) if bounds else None,
        "high": round(start * bounds.high, 6) if bounds else None,
        "whole": lane == _TOGETHER,
        "text": f"{shortened(lane, 14)} {figure}{f', {price}' if price else ''}",
        "figure": figure + (" (not told apart)" if found.within_noise else ""),
        "interval": f"{words.times(bounds.low)} to {words.times(bounds.high)}" if bounds else words.MISSING,
        "price": price or "not measured",
        "marks": found.view.mark_words or "none",
    }


def _rows(label: str, chain: Chain, parts: tuple[str, ...]) -> Iterator[Spec]:
    at = 1.0
    for name, found in zip(parts, chain.parts, strict=True):
        yield _row(label, name, at, found)
        at *= found.value
    yield _row(label, _TOGETHER, 1.0, chain.together)


def _body(rows: list[Spec], backends: list[str], styles: Styles, lanes: list[str]) -> Spec:
    low = min(1.0, *(min(row["from"], row["to"], row["low"] or row["to"]) for row in rows))
    high = max(row["edge"] for row in rows)
    domain = [low / 1.06, max(high, 1.2) * 1.04]
    wide = domain[1] / domain[0] > 3
    ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if wide else (0.3, 0.5, 0.7, 1, 1.25, 1.5, 2, 2.5, 3)
    room = min(_ROOM, 12 + max(text_width(row["text"]) for row in rows))
    span: list[Any] = [0, {"expr": f"max(60, width - {room:.0f})"}]
    scale = {"type": "log", "domain": domain, "nice": False, "range": span}
    axis = {
        "values": [tick for tick in ticks if domain[0] <= tick <= domain[1]],
        "format": "~g",
        "labelExpr": "datum.label + '\\u00d7'",
    }
    x = {"type": "quantitative", "scale": scale, "axis": axis, "title": "times as fast as fp32, logarithmic"}
    colours = {"domain": backends, "range": [styles[name].colour for name in backends]}
    tips = tooltip(
        label="backend", lane="step", figure="speed-up", interval="interval", price="against fp32", marks="marks"
    )
    return {
        "layer": [
            {
                "data": {"values": [{"x": 1}]},
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": "var(--muted)"},
                "encoding": {"x": {**x, "field": "x"}},
            },
            {
                "encoding": {
                    "y": {
                        "field": "label",
                        "type": "nominal",
                        "sort": None,
                        "title": None,
                        "scale": {"paddingInner": 0.24, "paddingOuter": 0.12},
                    },
                    "yOffset": {"field": "lane", "type": "nominal", "sort": lanes},
                    "color": {"field": "backend", "type": "nominal", "scale": colours, "legend": None},
                    "tooltip": tips,
                },
                "layer": [
                    {
                        "mark": {"type": "bar", "height": 10},
                        "encoding": {
                            "x": {**x, "field": "from"},
                            "x2": {"field": "to"},
                            "opacity": {"condition": {"test": "datum.whole", "value": 1}, "value": 0.45},
                        },
                    },
                    {
                        "mark": {"type": "rule", "strokeWidth": 1.5},
                        "encoding": {
                            "x": {**x, "field": "low"},
                            "x2": {"field": "high"},
                            "color": {"value": "var(--ink)"},
                        },
                    },
                    {
                        "mark": {"type": "text", "align": "left", "dx": 8, "fontSize": 11},
                        "encoding": {
                            "x": {**x, "field": "edge"},
                            "text": {"field": "text", "type": "nominal"},
                            "color": {
                                "condition": {"test": "datum.whole", "value": "var(--ink)"},
                                "value": "var(--muted)",
                            },
                        },
                    },
                ],
            },
        ]
    }


def _chart(trade: Tradeoff, found: Combination, styles: Styles) -> Chart:
    rows = [row for label, chain in found.chains.items() for row in _rows(label, chain, found.parts)]
    lanes = [*found.parts, _TOGETHER]
    backends = sorted({row["backend"] for row in rows})
    title = f"{found.steps} of {trade.model}: one step at a time, then together, {trade.setting.title}"
    listing = "; ".join(f"{row['label']} {row['text']}" for row in rows)
    views = [effect.view for chain in found.chains.values() for effect in (*chain.parts, chain.together)]
    marks = mark_notes(views, within_model=True)
    height = len(found.chains) * (_LANE * len(lanes) + 8)
    return Chart(
        title=title,
        description=f"{title}: {listing}",
        spec=finished(_body(rows, backends, styles, lanes), rows, f"{title}: {listing}", height),
        notes=("Each pale bar starts where the one above it ends; the full bar is the combination itself.", *marks),
    )


def waterfall_charts(trade: Tradeoff, found: Ablation | None, styles: Styles) -> tuple[Chart, ...]:
    """A chart for each combination of *found* whose single steps were measured on some backend."""
    if found is None:
        return ()
    return tuple(_chart(trade, combination, styles) for combination in found.combinations if combination.chains)
