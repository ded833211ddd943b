"""What all charts share: the house's look, row labels with their marks, and the stretch of an axis.

Colours are CSS variables (`var(--b0)`, `var(--ink)`), so that one drawing follows the page's theme. Every chart has
a fixed total width in its static form; the page lets the live form fill its box.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .palette import Style
from .views import CellView

if TYPE_CHECKING:
    import altair as alt

__all__ = ["FONT", "WIDTH", "Chart", "Styles", "chart_label", "colour_scale", "finished", "mark_notes", "svg"]

WIDTH = 460
"""Total width of a static chart in pixels, labels included."""

FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_SHORT = 13
"""Marks with longer labels are spelled out under the chart only."""

Styles = Mapping[str, Style]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One drawing: its Vega-Lite spec and what must be said beside it."""

    title: str
    description: str
    """What the drawing shows, for those who do not see it."""
    spec: dict[str, Any]
    notes: tuple[str, ...] = ()


def chart_label(view: CellView) -> str:
    """A label short enough for an axis; a star stands for marks that `mark_notes` spells out under the chart."""
    if not view.marks:
        return view.label
    short = [mark.label for mark in view.marks if len(mark.label) <= _SHORT][:1]
    star = ["*"] if len(view.marks) > len(short) else []
    return f"{view.label} ({' '.join([*short, *star])})"


def mark_notes(named: Iterable[tuple[str, CellView]]) -> tuple[str, ...]:
    """One line that spells out every mark: "Marks: tvm: untuned, not converged; ...". *named* pairs words with cells."""
    listing = [f"{name}: {view.mark_words}" for name, view in named if view.marks]
    return (f"Marks: {'; '.join(listing)}.",) if listing else ()


def finished(chart: alt.LayerChart | alt.Chart, description: str, height: int) -> dict[str, Any]:
    """The spec of *chart* with the house's look, *height* pixels of plot."""
    fit = {"type": "fit-x", "contains": "padding"}
    spec: dict[str, Any] = chart.properties(
        width=WIDTH,
        height=height,
        description=description,
        autosize=fit,
        padding={"left": 0, "right": 2, "top": 4, "bottom": 0},
    ).to_dict()
    text = {"labelColor": "var(--muted)", "titleColor": "var(--muted)", "labelFontSize": 12, "titleFontSize": 12}
    spec["config"] = {
        "background": "transparent",
        "font": FONT,
        "text": {"color": "var(--ink)", "fontSize": 12},
        "view": {"stroke": None},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "gridColor": "var(--line)",
            "domainColor": "var(--line)",
            "tickColor": "var(--line)",
            "labelLimit": 200,
        },
        "axisY": {"labelColor": "var(--ink)", "domain": False, "ticks": False, "labelPadding": 8},
        "legend": {**text, "labelColor": "var(--ink)", "orient": "bottom", "columns": 3, "labelLimit": 150},
    }
    return spec


def colour_scale(alt: Any, backends: Sequence[str], styles: Styles) -> Any:
    """Each backend in its own colour."""
    return alt.Scale(domain=list(backends), range=[styles[name].colour for name in backends])


def svg(chart: Chart) -> str:
    """The chart as static SVG, drawn without network or browser."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(chart.spec, allowed_base_urls=[]))
