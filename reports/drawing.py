"""What all charts share: the house's look, labels with their marks, and the static drawing.

Specs are plain Vega-Lite, each on its own: nested concatenations can come out empty without an error, and building
them through a validating wrapper takes longer than drawing them (the tests validate them instead). Colours are CSS
variables (`var(--b0)`, `var(--ink)`), so that one drawing follows the page's theme. Every chart has a fixed total
width in its static form; the page lets the live form fill its box.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .palette import Style
from .recipes import steps_of
from .views import CellView

__all__ = [
    "CONFIG",
    "FONT",
    "WIDTH",
    "Chart",
    "Spec",
    "Styles",
    "chart_label",
    "finished",
    "log_ticks",
    "mark_notes",
    "svg",
    "tooltip",
]

WIDTH = 460
"""Total width of a static chart in pixels, labels included."""

FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_SHORT = 13
"""Marks with longer labels are spelled out under the chart only."""

_TEXT = {"labelColor": "var(--muted)", "titleColor": "var(--muted)", "labelFontSize": 12, "titleFontSize": 12}

CONFIG: Mapping[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "text": {"color": "var(--ink)", "fontSize": 12},
    "view": {"stroke": None},
    "axis": {
        **_TEXT,
        "titleFontWeight": "normal",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelLimit": 200,
    },
    "axisY": {"labelColor": "var(--ink)", "domain": False, "ticks": False, "labelPadding": 8},
    "legend": {**_TEXT, "labelColor": "var(--ink)", "orient": "bottom", "columns": 3, "labelLimit": 150},
}
"""How every chart looks, as Vega-Lite's `config`."""

Styles = Mapping[str, Style]
Spec = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One drawing: its Vega-Lite spec and what must be said beside it."""

    title: str
    description: str
    """What the drawing shows, for those who do not see it."""
    spec: Spec
    notes: tuple[str, ...] = ()


def chart_label(view: CellView) -> str:
    """A label short enough for an axis; a star stands for marks that `mark_notes` spells out under the chart."""
    if not view.marks:
        return view.label
    short = [mark.label for mark in view.marks if len(mark.label) <= _SHORT][:1]
    star = ["*"] if len(view.marks) > len(short) else []
    return f"{view.label} ({' '.join([*short, *star])})"


def mark_notes(views: Iterable[CellView], *, within_model: bool = False) -> tuple[str, ...]:
    """One line that spells out every mark: "Marks: tvm: untuned, not converged; ...".

    A backend whose cells all carry the same marks is named once; else its marked cells are named by variant,
    *within_model* without the model's name.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for view in views:
        found.setdefault(view.label, {}).setdefault(view.mark_words, []).append(
            steps_of(view.cell.variant) if within_model else view.cell.variant
        )
    listing = []
    for label, groups in found.items():
        for marks, variants in groups.items():
            where = f" ({', '.join(variants)})" if len(groups) > 1 else ""
            if marks:
                listing.append(f"{label}{where}: {marks}")
    return (f"Marks: {'; '.join(listing)}.",) if listing else ()


def finished(body: Spec, rows: Sequence[Spec], description: str, height: int) -> Spec:
    """*body* (mark and encoding, or layers) over the data *rows*, with the house's look; *height* pixels of plot."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "width": WIDTH,
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 0, "right": 2, "top": 4, "bottom": 6},
        "data": {"values": list(rows)},
        "config": CONFIG,
        **body,
    }


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between *low* and *high*."""
    found = [digit * 10.0**power for power in range(-6, 9) for digit in (1, 2, 5)]
    return [tick for tick in found if low <= tick <= high]


def tooltip(**fields: str) -> list[Spec]:
    """A tooltip channel of words: data field to title."""
    return [{"field": name, "type": "nominal", "title": title} for name, title in fields.items()]


def svg(chart: Chart) -> str:
    """The chart as static SVG, drawn without network or browser; places to a hundredth of a pixel."""
    import vl_convert

    drawn = str(vl_convert.vegalite_to_svg(chart.spec, allowed_base_urls=[]))
    return _PLACES.sub(lambda places: _LONG.sub(lambda number: f"{float(number[0]):.2f}", places[0]), drawn)


_PLACES = re.compile(r' (?:d|transform|[xy][12]?|width|height)="[^"]*"')
_LONG = re.compile(r"-?[0-9]+\.[0-9]{3,}(?:e-?[0-9]+)?")
