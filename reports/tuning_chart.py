"""The tuning curve of a cell: estimated latency against minutes and against trials, beside what was then measured."""

from __future__ import annotations

from typing import Any, Literal

from . import words
from .drawing import Chart, Spec, Styles, finished, tooltip
from .tuning import RIVAL, TunedCell

__all__ = ["curve_charts"]

Against = Literal["minutes", "trials"]

_HEIGHT = 150
_END = 1.03
"""The curve goes on to the right of its last step by so much at least, so that the step is seen."""


def curve_charts(found: TunedCell, styles: Styles) -> tuple[Chart, ...]:
    """Two drawings, against minutes and against trials; none where the records keep no curve."""
    if len(found.facts.curve) < 2:
        return ()
    return tuple(_chart(found, against, styles) for against in ("minutes", "trials"))


def _place(seconds: float, trials: int, against: Against) -> float:
    return round(seconds / 60, 4) if against == "minutes" else float(trials)


def _rows(found: TunedCell, against: Against) -> list[Spec]:
    facts = found.facts
    points = [(point.seconds, point.trials, point.estimated_ms) for point in facts.curve]
    last = points[-1]
    points.append((max(facts.seconds, last[0] * _END), max(facts.trials, last[1] + 1), last[2]))
    return [
        {
            "x": _place(seconds, trials, against),
            "ms": round(estimated, 6),
            "when": f"{words.seconds(seconds)}, {words.plural(trials, 'trial')}",
            "figure": f"{words.ms(estimated)} ms",
        }
        for seconds, trials, estimated in points
    ]


def _rules(found: TunedCell, styles: Styles) -> list[tuple[str, float, str]]:
    """(words, milliseconds, colour) of the lines that say what was measured."""
    view = found.view
    rules = [(f"{view.cell.backend} measured {words.ms(view.median_ms)} ms", view.median_ms, view.cell.backend)]
    if found.payback is not None:
        rival = found.payback.rival
        rules.append((f"{RIVAL} {words.ms(rival.median_ms)} ms", rival.median_ms, rival.cell.backend))
    return [(label, value, styles[backend].colour) for label, value, backend in rules]


def _chart(found: TunedCell, against: Against, styles: Styles) -> Chart:
    cell = found.view.cell
    rows = _rows(found, against)
    rules = _rules(found, styles)
    title = f"Tuning of {cell.variant} against {against}, {found.comparison.setting.title}"
    description = (
        f"{title}: from {rows[0]['figure']} after {rows[0]['when']} to {rows[-1]['figure']} after {rows[-1]['when']}, "
        f"estimated; {'; '.join(label for label, _, _ in rules)}"
    )
    values = [row["ms"] for row in rows] + [value for _, value, _ in rules]
    spec = finished(_body(found, rules, against, values, styles), rows, description, _HEIGHT)
    return Chart(title=title, description=description, spec=spec, notes=_notes(found))


def _notes(found: TunedCell) -> tuple[str, ...]:
    return (f"Estimated: the sum of its kernels' best times. Space: {', '.join(sorted(found.facts.spaces))}.",)


def _body(
    found: TunedCell, rules: list[tuple[str, float, str]], against: Against, values: list[float], styles: Styles
) -> Spec:
    low, high = min(values), max(values)
    pad = (high - low) * 0.15 or high * 0.1
    scale = {"domain": [max(0.0, low - pad), high + pad], "nice": False, "zero": False}
    y: Spec = {"type": "quantitative", "scale": scale, "title": "milliseconds", "axis": {"tickCount": 4}}
    x = {
        "field": "x",
        "type": "quantitative",
        "title": against,
        "axis": {"tickCount": 5},
        "scale": {"nice": False, "zero": True},
    }
    colour = styles[found.view.cell.backend].colour
    layers: list[Any] = []
    captions: list[Any] = []
    ordered = sorted(rules, key=lambda rule: rule[1])
    for place, (label, value, paint) in enumerate(ordered):
        below = place == 0 and len(ordered) > 1
        layers.append(_rule(value, paint, y))
        captions += _caption(label, value, y, below=below)
    line = {
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "color": colour},
        "encoding": {"x": x, "y": {**y, "field": "ms"}},
    }
    dots = {
        "mark": {"type": "point", "filled": True, "size": 40, "opacity": 0, "color": colour},
        "encoding": {"x": x, "y": {**y, "field": "ms"}, "tooltip": tooltip(when="after", figure="estimated")},
    }
    return {"layer": [*layers, line, dots, *captions]}


def _rule(value: float, paint: str, y: Spec) -> Spec:
    return {
        "data": {"values": [{"ms": value}]},
        "mark": {"type": "rule", "strokeWidth": 1.5, "strokeDash": [5, 3], "color": paint},
        "encoding": {"y": {**y, "field": "ms"}},
    }


def _caption(label: str, value: float, y: Spec, *, below: bool) -> list[Spec]:
    """The words of a rule at its right end, on a halo that keeps lines from running through them."""
    mark = {"type": "text", "align": "right", "fontSize": 11, "x": "width", "dx": -4}
    mark |= {"baseline": "top", "dy": 5} if below else {"baseline": "bottom", "dy": -4}
    halo = {**mark, "stroke": "var(--surface)", "strokeWidth": 4, "strokeJoin": "round", "color": "var(--surface)"}
    data = {"values": [{"ms": value, "text": label}]}
    encoding = {"y": {**y, "field": "ms"}, "text": {"field": "text", "type": "nominal"}}
    return [{"data": data, "mark": kind, "encoding": encoding} for kind in (halo, mark)]
