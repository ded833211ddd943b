"""The roofline: what each row reaches against what the machine could do at its arithmetic intensity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import words
from .drawing import Chart, Spec, Styles, finished, log_ticks, tooltip
from .layer_words import main_node
from .profile_views import Sitting
from .profiles import BackendProfile, Roof
from .results import Peaks

__all__ = ["roofline_chart"]

_MOST = 400
"""Rows that are drawn, the costliest first: the others would only cover them."""
_HEIGHT = 330
_WIDE = 860


@dataclass(frozen=True, kw_only=True)
class _Point:
    backend: str
    label: str
    kind: str
    intensity: float
    """Multiply-accumulates for each byte."""
    rate: float
    """10^9 multiply-accumulates a second."""
    ms: float
    limit_ms: float
    roof: Roof


def _points(profile: BackendProfile) -> Iterator[_Point]:
    if profile.refused:
        return
    for row in profile.rows:
        roof, node = row.roof, main_node(row)
        if roof is None or node is None or min(roof.macs, roof.moved_bytes, row.median_ms) <= 0:
            continue
        yield _Point(
            backend=profile.backend,
            label=node.scope or node.name,
            kind=f"{node.op}{f' +{len(row.nodes) - 1}' if len(row.nodes) > 1 else ''}",
            intensity=roof.macs / roof.moved_bytes,
            rate=roof.macs / row.median_ms / 1e6,
            ms=row.median_ms,
            limit_ms=roof.limit_ms,
            roof=roof,
        )


def _ceilings(points: Sequence[_Point]) -> dict[str, float]:
    """By precision, 10^9 textbook multiply-accumulates a second."""
    found: dict[str, float] = {}
    for point in points:
        if point.roof.direct_ms > 0:
            rate = point.roof.macs / point.roof.direct_ms / 1e6
            found[point.roof.precision] = max(found.get(point.roof.precision, 0.0), rate)
    return found


def _slopes(peaks: Peaks | None, threads: int) -> dict[str, float]:
    """By tier of the memory, 10^9 bytes a second of *threads* cores: no more than one core or all of them allow."""
    found: dict[str, float] = {}
    for tier in peaks.tiers if peaks is not None else ():
        one, every = (rate or 0.0 for rate in tier.best_gbytes_s)
        rate = one if threads == 1 else min(one * threads, every)
        if rate > 0:
            found[tier.tier] = rate
    return found


def roofline_chart(sitting: Sitting, peaks: Peaks | None, styles: Styles) -> Chart | None:
    """Rows by arithmetic intensity and rate, under the machine's *peaks*; None where no row's limit is known."""
    every = sorted((point for found in sitting.profiles for point in _points(found)), key=lambda point: -point.ms)
    ceilings, slopes = _ceilings(every), _slopes(peaks, sitting.threads)
    if not every or not ceilings:
        return None
    points = every[:_MOST]
    title = f"Roofline, {sitting.title}"
    tops = [f"{name} peak {words.rate(rate)} GMAC/s" for name, rate in ceilings.items()]
    tops += [f"{name} {words.rate(rate)} GB/s" for name, rate in slopes.items()]
    costly = [
        f"{point.label} in {point.backend} {words.rate(point.rate)} GMAC/s at {words.rate(point.intensity)} MAC/byte"
        for point in points[:5]
    ]
    description = f"{title}. Roofs: {', '.join(tops)}. Costliest rows: {'; '.join(costly)}"
    spec = finished(_body(points, ceilings, slopes, styles), [], description, _HEIGHT)
    notes = [
        "Each point is a row of a backend's profile, the larger the more time it takes; multiplications are counted by "
        "the textbook, so Winograd's may lie above the peak."
    ]
    if len(every) > len(points):
        notes.append(f"Drawn are the {len(points):,} costliest of {len(every):,} rows.")
    return Chart(title=title, description=description, spec={**spec, "width": _WIDE}, notes=tuple(notes))


def _body(points: Sequence[_Point], ceilings: dict[str, float], slopes: dict[str, float], styles: Styles) -> Spec:
    low, high = min(point.intensity for point in points) / 1.6, max(point.intensity for point in points) * 1.6
    top = max(*ceilings.values(), *(point.rate for point in points)) * 1.7
    floor = min(point.rate for point in points) / 1.6
    x: Spec = {
        "field": "x",
        "type": "quantitative",
        "title": "multiply-accumulates for each byte moved, logarithmic",
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {"format": "~g", "values": log_ticks(low, high)},
    }
    y: Spec = {
        "field": "y",
        "type": "quantitative",
        "title": "GMAC/s, logarithmic",
        "scale": {"type": "log", "domain": [floor, top], "nice": False},
        "axis": {"format": "~g", "values": log_ticks(floor, top)},
    }
    lines, captions = _roofs(ceilings, slopes, low, high, floor)
    return {"layer": [_lines(lines, x, y), _dots(points, x, y, styles), *_captions(captions, x, y)]}


def _roofs(
    ceilings: dict[str, float], slopes: dict[str, float], low: float, high: float, floor: float
) -> tuple[list[Spec], list[Spec]]:
    """The ends of all lines, and their words at places of their own."""
    peak = max(ceilings.values())
    lines: list[Spec] = []
    captions: list[Spec] = []
    widest = max(slopes.values(), default=0.0)
    for name, rate in ceilings.items():
        start = max(low, rate / widest) if widest else low
        lines += [{"roof": name, "x": min(start, high), "y": rate}, {"roof": name, "x": high, "y": rate}]
        captions.append({"x": high, "y": rate, "text": f"{name} peak, {words.rate(rate)} GMAC/s", "side": "right"})
    for place, (name, rate) in enumerate(slopes.items()):
        first, last = max(low, floor / rate), min(high, peak / rate)
        if first < last:
            lines += [{"roof": name, "x": first, "y": rate * first}, {"roof": name, "x": last, "y": rate * last}]
            along = first * (last / first) ** (0.08 + 0.12 * place)
            captions.append({"x": along, "y": rate * along, "text": f"{name} {words.rate(rate)} GB/s", "side": "left"})
    return lines, captions


def _lines(lines: Sequence[Spec], x: Spec, y: Spec) -> Spec:
    return {
        "data": {"values": list(lines)},
        "mark": {"type": "line", "strokeWidth": 1.5, "color": "var(--muted)", "clip": True},
        "encoding": {"x": x, "y": y, "detail": {"field": "roof", "type": "nominal"}},
    }


def _captions(captions: Sequence[Spec], x: Spec, y: Spec) -> list[Spec]:
    """The words of the roofs, on a halo that keeps points from running through them."""
    found = []
    for side, place in (
        ("right", {"align": "right", "dx": -4, "dy": -7}),
        ("left", {"align": "left", "dx": 8, "dy": 2, "baseline": "top"}),
    ):
        own = [{**caption} for caption in captions if caption["side"] == side]
        mark = {"type": "text", "fontSize": 11, **place}
        halo = {**mark, "stroke": "var(--surface)", "strokeWidth": 4, "strokeJoin": "round", "color": "var(--surface)"}
        encoding = {"x": x, "y": y, "text": {"field": "text", "type": "nominal"}}
        found += [{"data": {"values": own}, "mark": kind, "encoding": encoding} for kind in (halo, mark)]
    return found


def _dots(points: Sequence[_Point], x: Spec, y: Spec, styles: Styles) -> Spec:
    backends = sorted({point.backend for point in points})
    values = [
        {
            "x": round(point.intensity, 5),
            "y": round(point.rate, 5),
            "backend": point.backend,
            "label": f"{point.label} ({point.kind})",
            "ms": round(point.ms, 6),
            "time": f"{words.ms(point.ms)} ms",
            "best": f"{words.ms(point.limit_ms)} ms, {point.roof.bound}",
            "reach": words.percent(point.limit_ms / point.ms, 0),
            "rate": f"{words.rate(point.rate)} GMAC/s",
        }
        for point in points
    ]
    kind = {"field": "backend", "type": "nominal", "legend": {"title": None, "symbolSize": 80, "symbolOpacity": 1}}
    colour = {"domain": backends, "range": [styles[name].colour for name in backends]}
    shape = {"domain": backends, "range": [styles[name].shape for name in backends]}
    size = {"type": "sqrt", "range": [12, 220], "domainMin": 0}
    return {
        "data": {"values": values},
        "params": [{"name": "pick", "select": {"type": "point", "fields": ["backend"]}, "bind": "legend"}],
        # Hundreds of them one by one are nothing to listen to: the chart's description has the costliest.
        "mark": {"type": "point", "filled": False, "strokeWidth": 1.7, "aria": False},
        "encoding": {
            "x": x,
            "y": y,
            "color": {**kind, "scale": colour},
            "shape": {**kind, "scale": shape},
            "size": {"field": "ms", "type": "quantitative", "scale": size, "legend": None},
            "opacity": {"condition": {"param": "pick", "value": 0.85}, "value": 0.08},
            "tooltip": tooltip(
                label="layer", backend="backend", time="time", best="limit", reach="reaches", rate="rate"
            ),
        },
    }
