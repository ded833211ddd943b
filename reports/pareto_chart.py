"""The chart of latency against quality: colour by backend, shape by variant, labels on the Pareto front.

Labels are placed in pixels, so the plot has a fixed width: one for wide pages and one for narrow ones. Both layouts
travel in the spec's `usermeta`; the page takes the widest that fits and writes its places into the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import labels, prices, words
from .drawing import Chart, Spec, Styles, mark_notes
from .pareto import Point
from .pareto_spec import HEIGHT, Frame, pareto_spec
from .recipes import steps_of
from .tradeoff import Tradeoff, name_of

__all__ = ["pareto_chart"]

_WIDTHS = (820, 560, 250)
"""Of the plot without its axis, in pixels."""

_SLOW = 40.0
"""Cells more than this many times slower than the fastest would squeeze the others and are named instead."""
_DEEP = 0.3
"""So would cells that lie this share below the best; for dB, twice as much of the range."""


def _split(trade: Tradeoff) -> tuple[list[Point], list[Point]]:
    """(points that share a scale, points that would squeeze it)."""
    fastest = min(point.view.median_ms for point in trade.points)
    best = max(point.quality for point in trade.points)
    depth = _DEEP if trade.measure is None or trade.measure.kind != "snr" else math.inf
    on_front = {point.view.cell.key for point in trade.front}
    near = [
        point
        for point in trade.points
        if point.view.cell.key in on_front
        or (point.view.median_ms <= _SLOW * fastest and point.quality >= best - depth)
    ]
    return near, [point for point in trade.points if point not in near]


def _frame(points: Sequence[Point]) -> Frame:
    lows = [p.view.interval.low if p.view.interval else p.view.median_ms for p in points]
    highs = [p.view.interval.high if p.view.interval else p.view.median_ms for p in points]
    worst, best = min(point.low for point in points), max(point.high for point in points)
    pad = 0.06 * (best - worst) or 0.01 * max(abs(best), 1.0)
    return Frame(fast=min(lows) / 1.15, slow=max(highs) * 1.15, worst=worst - pad, best=best + pad)


def _layout(points: Sequence[Point], texts: dict[int, str], frame: Frame, width: int) -> Spec:
    """{"width", "places": by row (x, y of the label's left middle, x, y where its line ends) or None}."""
    pixels = [frame.pixel(point.view.median_ms, point.quality, width) for point in points]
    found, left_out = labels.place(pixels, texts, width, HEIGHT)
    places: list[list[float] | None] = [None] * len(points)
    for label in found:
        end = label.leader or pixels[label.number]
        middle = (label.box.left, label.box.top + label.box.height / 2)
        places[label.number] = [*frame.place(*middle, width), *frame.place(*end, width)]
    return {"width": width, "places": places, "unlabelled": len(left_out)}


def _row(point: Point, text: str, on_front: bool) -> Spec:
    view, found, like = point.view, point.view.cell.accuracy, point.view.cell.fidelity
    bounds = view.interval
    return {
        "ms": round(view.median_ms, 6),
        "low": bounds.low if bounds else view.median_ms,
        "high": bounds.high if bounds else view.median_ms,
        "q": round(point.quality, 6),
        "worse": round(point.low, 6),
        "better": round(point.high, 6),
        "backend": view.cell.backend,
        "steps": steps_of(view.cell.variant),
        "label": view.label,
        "text": text,
        "front": on_front,
        "hollow": bool(view.marks),
        "median": f"{words.ms(view.median_ms)} ms",
        "interval": f"{words.interval_ms(bounds, view.median_ms)} ms",
        "accuracy": f"{prices.accuracy(found)} ({prices.accuracy_interval(found)})" if found else "not measured",
        "loss": prices.versus(found) if found else words.MISSING,
        "fidelity": prices.fidelity(like),
        "marks": view.mark_words or "none",
        "say": False,
        "lx": None,
        "ly": None,
        "ex": None,
        "ey": None,
    }


def _settled(rows: Sequence[Spec], layout: Spec) -> list[Spec]:
    """*rows* with the labels' places of *layout*; the page does the same for a narrow one."""
    settled = []
    for row, place in zip(rows, layout["places"], strict=True):
        names = dict(zip(("lx", "ly", "ex", "ey"), place or (None,) * 4, strict=True))
        settled.append({**row, **names, "say": place is not None})
    return settled


def _off_notes(points: Sequence[Point]) -> list[str]:
    if not points:
        return []
    named = [f"{name_of(point.view)} {words.ms(point.view.median_ms)} ms" for point in points]
    more = f" and {len(named) - 6} more" if len(named) > 6 else ""
    return [f"Off the scale, and on no front: {', '.join(named[:6])}{more}."]


def _notes(trade: Tradeoff, off: Sequence[Point], unlabelled: int) -> tuple[str, ...]:
    keys = {point.view.cell.key for point in trade.points}
    without = [view for view in trade.measured if view.cell.key not in keys]
    marks = mark_notes((point.view for point in trade.points), within_model=True)
    notes = [
        "Labelled points are on the Pareto front: no other cell is at least as good in both and better beyond noise "
        "in one. Bars are intervals."
    ]
    if trade.random_weights:
        notes.append("Random weights: this is how far outputs move, not what a trained model would lose.")
    notes += _off_notes(off)
    if without:
        notes.append(f"Not drawn, because {words.plural(len(without), 'cell')} had no accuracy or fidelity measured.")
    if unlabelled:
        notes.append(f"{words.plural(unlabelled, 'point')} of the front found no room for a label.")
    return (*notes, *(("Hollow points carry a mark.", *marks) if marks else ()))


def pareto_chart(trade: Tradeoff, styles: Styles) -> Chart | None:
    """Latency against quality of all variants and backends of *trade*; None where fewer than two points are known."""
    if len(trade.points) < 2 or trade.measure is None:
        return None
    points, off = _split(trade)
    frame = _frame(points)
    on_front = {point.view.cell.key for point in trade.front}
    texts = {
        number: labels.shortened(name_of(point.view))
        for number, point in enumerate(points)
        if point.view.cell.key in on_front
    }
    rows = [_row(point, texts.get(number, ""), number in texts) for number, point in enumerate(points)]
    layouts = [_layout(points, texts, frame, width) for width in _WIDTHS]
    title = f"{trade.model}: latency against {trade.measure.title}, {trade.setting.title}"
    listing = "; ".join(
        f"{row['text']} {row['median']}, {words.percent(row['q']) if trade.measure.kind != 'snr' else row['q']}"
        for row in rows
        if row["front"]
    )
    description = f"{title}. On the front, fastest first: {listing}"
    return Chart(
        title=title,
        description=description,
        spec={
            **pareto_spec(trade, points, _settled(rows, layouts[0]), frame, styles),
            "description": description,
            "usermeta": {"layouts": layouts},
            "width": layouts[0]["width"],
        },
        notes=_notes(trade, off, layouts[0]["unlabelled"]),
    )
