"""The HTML report: one file that needs no network, no JavaScript and no other file.

The page's charts are drawn as SVG when the page is made; where JavaScript runs, the interactive Vega-Lite version is
mounted over each. All text from runs goes through Jinja2's autoescape; specs go into data blocks as JSON with `<`
escaped; the one script is allowed by its hash, everything else is forbidden by a Content-Security-Policy.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from . import across, facts, prices, strips, tuning, verdicts, words
from .ablation import Ablation, ablation, price_of
from .ablation_chart import waterfall_charts
from .charts import latency_chart, samples_chart, speed_up_chart
from .drawing import Chart, Styles, svg
from .marks import precision_asked, ran_as_asked
from .palette import SHAPES, styles
from .pareto_chart import pareto_chart
from .reasons import Remark, remarks
from .recipes import full_name, steps_of
from .results import Run
from .steps import SHORT_HASH, shape_words, step_views
from .tradeoff import Tradeoff, champion_words, cost_words, name_of, tradeoffs
from .tuning import TunedCell, tuned_cells
from .tuning_chart import curve_charts
from .views import Comparison, RunView, run_view

__all__ = ["render_html"]

_MANY = 60
"""Comparisons from which on a page would grow by tens of megabytes if each variant had its own charts."""


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """A chart with its static drawing; *ident* is unique in the page."""

    ident: str
    chart: Chart
    svg: str


@dataclass(frozen=True, kw_only=True)
class _Costs:
    """What the variants of one model cost at one setting, with its charts."""

    trade: Tradeoff
    front: tuple[_Drawn, ...]
    ablation: Ablation | None
    waterfalls: tuple[_Drawn, ...]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, kw_only=True)
class _Tuned:
    """A tuned cell with its curves."""

    found: TunedCell
    curves: tuple[_Drawn, ...]


@dataclass(frozen=True, kw_only=True)
class _Section:
    """One run in the page."""

    prefix: str
    view: RunView
    title: str
    trades: tuple[_Costs, ...]
    speed_ups: tuple[_Drawn, ...]
    drawings: dict[tuple[str, str], tuple[_Drawn, ...]]
    """Charts by variant and setting title."""
    tuned: tuple[_Tuned, ...]
    """Cells whose schedules a search found."""

    @property
    def untuned(self) -> tuple[str, ...]:
        """Cells, in words, of a backend that has tuned ones, which have no schedule from the search themselves."""
        searched = {one.found.view.cell.backend for one in self.tuned}
        cells = [view.cell for view in self.view.measured if view.cell.backend in searched]
        left = [cell for cell in cells if cell.executed is None or cell.executed.tuning is None]
        return tuple(f"{cell.variant} ({words.plural(cell.threads, 'thread')})" for cell in left)

    @property
    def drawn(self) -> bool:
        """Whether there is any chart."""
        return bool(self.speed_ups) or any(self.drawings.values()) or any(costs.front for costs in self.trades)

    @property
    def costs(self) -> dict[str, list[_Costs]]:
        """What the variants cost by model, in the order of the run."""
        found: dict[str, list[_Costs]] = {}
        for costs in self.trades:
            found.setdefault(costs.trade.model, []).append(costs)
        return found

    def of(self, comparison: Comparison) -> tuple[_Drawn, ...]:
        """The charts of *comparison*."""
        return self.drawings.get((comparison.variant, comparison.setting.title), ())

    @property
    def thinned(self) -> bool:
        """Whether the run is so large that some comparisons are shown without charts."""
        return not all(_charted(comparison, self.view) for comparison in self.view.comparisons)


_IDS = re.compile(r'(\bid="|url\(#)')


def _drawn(ident: str, chart: Chart) -> _Drawn:
    """Draw *chart*; ids inside the SVG get *ident* in front, so that no two drawings of a page share one."""
    return _Drawn(ident=ident, chart=chart, svg=_IDS.sub(rf"\g<1>{ident}-", svg(chart)))


def _costs(ident: str, trade: Tradeoff, view: RunView, looks: Styles) -> _Costs:
    found = ablation(trade, view.floor)
    chart = pareto_chart(trade, looks)
    return _Costs(
        trade=trade,
        front=() if chart is None else (_drawn(f"{ident}f", chart),),
        ablation=found,
        waterfalls=tuple(
            _drawn(f"{ident}w{place}", chart) for place, chart in enumerate(waterfall_charts(trade, found, looks))
        ),
        remarks=remarks(trade, view.floor, view.run.target.cpu),
    )


def _charted(comparison: Comparison, view: RunView) -> bool:
    """Whether *comparison* has charts of its own; in a large run only fp32 has them, and the rest its tables."""
    return len(view.comparisons) <= _MANY or comparison.variant == full_name(comparison.model)


def _section(number: int, view: RunView, looks: Styles) -> _Section:
    prefix = f"r{number}"
    gains = [chart for setting in view.settings if (chart := speed_up_chart(view, setting, looks)) is not None]
    drawings = {}
    for place, comparison in enumerate(view.comparisons):
        if not _charted(comparison, view):
            continue
        made = [chart for make in (latency_chart, samples_chart) if (chart := make(comparison, looks)) is not None]
        drawn = tuple(_drawn(f"{prefix}c{place}v{which}", chart) for which, chart in enumerate(made))
        drawings[comparison.variant, comparison.setting.title] = drawn
    return _Section(
        prefix=prefix,
        view=view,
        title=view.run.target.name,
        trades=tuple(_costs(f"{prefix}p{place}", trade, view, looks) for place, trade in enumerate(tradeoffs(view))),
        speed_ups=tuple(_drawn(f"{prefix}s{place}", chart) for place, chart in enumerate(gains)),
        drawings=drawings,
        tuned=tuple(_tuned(f"{prefix}t{place}", found, view, looks) for place, found in enumerate(tuned_cells(view))),
    )


def _tuned(ident: str, found: TunedCell, view: RunView, looks: Styles) -> _Tuned:
    charts = curve_charts(found, looks) if _charted(found.comparison, view) else ()
    return _Tuned(found=found, curves=tuple(_drawn(f"{ident}v{which}", chart) for which, chart in enumerate(charts)))


def _asset(name: str) -> str:
    return files("bakeoff.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _vega() -> str:
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


@cache
def _script(live: bool) -> str:
    """The page's own code, with Vega before it if *live*, as one function: no name becomes global; safe in a tag."""
    bundle = f"{_vega() if live else ''}\n{_asset('page.js')}"
    safe = re.sub(r"</(?=script)", r"<\\/", bundle, flags=re.IGNORECASE).replace("<!--", r"<\!--")
    return f"(() => {{\n{safe}\n}})();"


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json_block(spec: dict[str, Any]) -> str:
    """JSON for a data block: without `<`, `>` and `&` nothing in it can end the block."""
    text = json.dumps(spec, separators=(",", ":"), allow_nan=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bakeoff.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "words": words,
        "facts": facts,
        "strips": strips,
        "verdicts": verdicts,
        "shapes": SHAPES,
        "prices": prices,
        "tuning": tuning,
        "precision_asked": precision_asked,
        "ran_as_asked": ran_as_asked,
        "steps_of": steps_of,
        "step_views": step_views,
        "shape_words": shape_words,
        "short_hash": SHORT_HASH,
        "name_of": name_of,
        "cost_words": cost_words,
        "champion_words": champion_words,
        "price_of": price_of,
        "json_block": _json_block,
    }
    return environment


def render_html(runs: Sequence[Run]) -> str:
    """The whole report on *runs* as one HTML document.

    One run gives a page on its target. Several are put side by side first, then shown one after the other. Raises
    ValueError for no runs at all.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    views = [run_view(run) for run in runs]
    looks = styles(name for view in views for name in view.backends)
    sections = [_section(number, view, looks) for number, view in enumerate(views)]
    script = _script(any(section.drawn for section in sections))
    page = _environment().get_template("page.html.j2")
    return str(
        page.render(
            sections=sections,
            looks=looks,
            columns=across.columns(views),
            across=across.across(views),
            css=_asset("style.css"),
            script=script,
            script_hash=_sha256(script),
        )
    )
