"""The charts of a profile: time by kind of operator, and layers along the graph coloured by time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from . import words
from .drawing import Chart, Spec, finished, tooltip
from .palette import kind_colours
from .profile_views import NO_OPERATORS, LayerView, Sitting, kind_shares

__all__ = ["heat_chart", "kind_chart"]

_BAND = 30
_STRIPES = 240
"""More layers than this are drawn together with their neighbours: a stripe has to be seen."""
_WIDE = 860
_WORDS_WIDE = 0.075
"""A segment of this part of the axis has room for its percentage."""


def _wide(spec: Spec, columns: int) -> Spec:
    """*spec* over the width of the page; its legend has room for so many *columns*."""
    config = {**spec["config"], "legend": {**spec["config"]["legend"], "columns": columns}}
    return {**spec, "width": _WIDE, "config": config}


def kind_chart(sitting: Sitting, order: Sequence[str] = ()) -> Chart | None:
    """One bar a backend, as long as its median without the profiler, divided by kind of operator.

    Kinds have the colours that their places in *order* give them, the same in several charts of a page.
    """
    shares = kind_shares(sitting)
    if not shares:
        return None
    kinds = list(dict.fromkeys(share.kind for share in shares))
    last = [kind for kind in NO_OPERATORS if kind in kinds]
    kinds = [*(kind for kind in kinds if kind not in last), *last]
    top = max(sum(share.ms for share in shares if share.backend == found.backend) for found in sitting.profiles)
    rows, ends = [], dict[str, float]()
    for share in shares:
        start = ends.get(share.backend, 0.0)
        ends[share.backend] = start + share.ms
        rows.append(
            {
                "backend": share.backend,
                "kind": share.kind,
                "start": round(start, 6),
                "end": round(start + share.ms, 6),
                "middle": round(start + share.ms / 2, 6),
                "ink": "var(--ink)" if share.kind in NO_OPERATORS[2:] else "var(--surface)",
                "say": words.percent(share.share, 0) if share.ms > _WORDS_WIDE * top else "",
                "figure": f"{words.ms(share.ms)} ms",
                "part": words.percent(share.share),
            }
        )
    title = f"Time by kind of operator, {sitting.title}"
    listing = "; ".join(
        f"{found.backend}: "
        + ", ".join(f"{row['kind']} {row['figure']} ({row['part']})" for row in rows if row["backend"] == found.backend)
        for found in sitting.profiles
    )
    body = _kind_body(kinds, kind_colours(kinds, NO_OPERATORS, order), [found.backend for found in sitting.profiles])
    spec = _wide(finished(body, rows, f"{title}. {listing}", _BAND * len(sitting.profiles)), 6)
    over = [found.backend for found in sitting.profiles if found.residual_ms < 0]
    notes = [f"Rows of {words.listed(over)} sum to more than the median without the profiler."] if over else []
    return Chart(title=title, description=f"{title}. {listing}", spec=spec, notes=tuple(notes))


def _kind_body(kinds: Sequence[str], colours: Sequence[str], backends: Sequence[str]) -> Spec:
    scale = {"domain": list(kinds), "range": list(colours)}
    y: Spec = {
        "field": "backend",
        "type": "nominal",
        "sort": list(backends),
        "title": None,
        "scale": {"paddingInner": 0.3, "paddingOuter": 0.15},
    }
    legend = {"title": None, "symbolType": "square"}
    x: Spec = {"field": "start", "type": "quantitative", "title": "milliseconds", "axis": {"tickCount": 6}}
    x["scale"] = {"nice": False}
    tips = tooltip(backend="backend", kind="kind", figure="time", part="of the median")
    return {
        "encoding": {"y": y, "tooltip": tips},
        "layer": [
            {
                "mark": {"type": "bar", "stroke": "var(--surface)", "strokeWidth": 1},
                "encoding": {
                    "x": x,
                    "x2": {"field": "end"},
                    "color": {"field": "kind", "type": "nominal", "scale": scale, "legend": legend},
                },
            },
            {
                "mark": {"type": "text", "fontSize": 11},
                "encoding": {
                    "x": {**x, "field": "middle"},
                    "text": {"field": "say", "type": "nominal"},
                    "color": {"field": "ink", "type": "nominal", "scale": None},
                },
            },
        ],
    }


def _stripes(layers: Sequence[LayerView]) -> Iterator[Sequence[LayerView]]:
    """*layers* as at most `_STRIPES` parts of neighbours."""
    step = max(1, -(-len(layers) // _STRIPES))
    for start in range(0, len(layers), step):
        yield layers[start : start + step]


def _heat_rows(sitting: Sitting) -> Iterator[Spec]:
    for part in _stripes(sitting.layers):
        first, last = part[0], part[-1]
        label = first.label if first is last else f"{first.label} to {last.label}"
        limits = [layer.limit_ms for layer in part if layer.limit_ms is not None]
        spent = {
            backend: sum(layer.ms.get(backend, 0.0) for layer in part)
            for backend in sitting.backends
            if any(backend in layer.ms for layer in part)
        }
        if limits:
            spent[_LIMIT] = sum(limits)
        for backend, ms in spent.items():
            yield {
                "backend": backend,
                "from": first.place - 0.5,
                "to": last.place + 0.5,
                "ms": round(ms, 6),
                "figure": f"{words.ms(ms)} ms",
                "label": label,
                "number": str(first.place) if first is last else f"{first.place} to {last.place}",
            }


_LIMIT = "limit"


def heat_chart(sitting: Sitting) -> Chart | None:
    """The layers in topological order, a strip for each backend, the darker the longer; None where none is mapped."""
    rows = list(_heat_rows(sitting))
    if not rows:
        return None
    lanes = [*sitting.backends, *([_LIMIT] if sitting.limited else [])]
    title = f"Time along the graph, {sitting.title}"
    worst = "; ".join(
        f"{backend}: {', '.join(f'{layer.label} {words.ms(layer.ms[backend])} ms' for layer in _top(sitting, backend))}"
        for backend in sitting.backends
    )
    description = f"{title}: layers from the input at the left to the output at the right. Costliest in {worst}"
    spec = _wide(finished(_heat_body(lanes, len(sitting.layers)), rows, description, 26 * len(lanes)), 10)
    together = -(-len(sitting.layers) // _STRIPES)
    notes = (f"Each stripe is {words.plural(together, 'layer')} together.",) if together > 1 else ()
    return Chart(title=title, description=description, spec=spec, notes=notes)


def _top(sitting: Sitting, backend: str) -> list[LayerView]:
    return sorted((layer for layer in sitting.layers if backend in layer.ms), key=lambda layer: -layer.ms[backend])[:3]


def _heat_body(lanes: Sequence[str], count: int) -> Spec:
    place: dict[str, Any] = {
        "field": "from",
        "type": "quantitative",
        "title": "layer, in topological order",
        "axis": {"tickCount": 10, "grid": False, "format": ",d"},
        "scale": {"domain": [0.5, count + 0.5], "nice": False, "zero": False},
    }
    heat = {
        "field": "ms",
        "type": "quantitative",
        "scale": {"type": "sqrt", "range": [0.05, 1], "domainMin": 0},
        "legend": {"title": "milliseconds", "symbolFillColor": "var(--heat)", "symbolStrokeWidth": 0, "tickCount": 5},
    }
    tips = tooltip(backend="backend", number="layer", label="name", figure="time")
    return {
        # Hundreds of them one by one are nothing to listen to: the chart's description has the costliest.
        "mark": {"type": "rect", "fill": "var(--heat)", "stroke": None, "aria": False},
        "encoding": {
            "y": {
                "field": "backend",
                "type": "nominal",
                "sort": list(lanes),
                "title": None,
                "scale": {"paddingInner": 0.18},
            },
            "x": place,
            "x2": {"field": "to"},
            "opacity": heat,
            "tooltip": tips,
        },
    }
