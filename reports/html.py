"""The HTML report: one file that needs no network, no JavaScript and no other file.

The page's charts are drawn as SVG when the page is made; where JavaScript runs, the interactive Vega-Lite version is
mounted over each. `page.py` keeps what all pages share, escaping above all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import across, facts, prices, strips, tuning, verdicts, words
from .ablation import Ablation, ablation, price_of
from .ablation_chart import waterfall_charts
from .charts import latency_chart, samples_chart, speed_up_chart
from .drawing import Styles
from .marks import precision_asked, ran_as_asked
from .page import Drawn, asset, draw, environment, script, sha256
from .palette import styles
from .pareto_chart import pareto_chart
from .profile_html import PROFILE_NAMES, ProfileSection, backends_of, profile_section
from .profiles import ProfileReport
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
class _Costs:
    """What the variants of one model cost at one setting, with its charts."""

    trade: Tradeoff
    front: tuple[Drawn, ...]
    ablation: Ablation | None
    waterfalls: tuple[Drawn, ...]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, kw_only=True)
class _Tuned:
    """A tuned cell with its curves."""

    found: TunedCell
    curves: tuple[Drawn, ...]


@dataclass(frozen=True, kw_only=True)
class _Section:
    """One run in the page."""

    prefix: str
    view: RunView
    title: str
    trades: tuple[_Costs, ...]
    speed_ups: tuple[Drawn, ...]
    drawings: dict[tuple[str, str], tuple[Drawn, ...]]
    """Charts by variant and setting title."""
    tuned: tuple[_Tuned, ...]
    """Cells whose schedules a search found."""
    profiles: tuple[ProfileSection, ...]
    """Where the time goes, layer by layer."""

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
        charts = (*self.speed_ups, *self.drawings.values(), *(costs.front for costs in self.trades))
        return any(charts) or any(found.drawn for found in self.profiles)

    @property
    def costs(self) -> dict[str, list[_Costs]]:
        """What the variants cost by model, in the order of the run."""
        found: dict[str, list[_Costs]] = {}
        for costs in self.trades:
            found.setdefault(costs.trade.model, []).append(costs)
        return found

    def of(self, comparison: Comparison) -> tuple[Drawn, ...]:
        """The charts of *comparison*."""
        return self.drawings.get((comparison.variant, comparison.setting.title), ())

    @property
    def thinned(self) -> bool:
        """Whether the run is so large that some comparisons are shown without charts."""
        return not all(_charted(comparison, self.view) for comparison in self.view.comparisons)


def _costs(ident: str, trade: Tradeoff, view: RunView, looks: Styles) -> _Costs:
    found = ablation(trade, view.floor)
    chart = pareto_chart(trade, looks)
    return _Costs(
        trade=trade,
        front=() if chart is None else (draw(f"{ident}f", chart),),
        ablation=found,
        waterfalls=tuple(
            draw(f"{ident}w{place}", chart) for place, chart in enumerate(waterfall_charts(trade, found, looks))
        ),
        remarks=remarks(trade, view.floor, view.run.target.cpu),
    )


def _charted(comparison: Comparison, view: RunView) -> bool:
    """Whether *comparison* has charts of its own; in a large run only fp32 has them, and the rest its tables."""
    return len(view.comparisons) <= _MANY or comparison.variant == full_name(comparison.model)


def _section(number: int, view: RunView, profiles: Sequence[ProfileReport], looks: Styles) -> _Section:
    prefix = f"r{number}"
    gains = [chart for setting in view.settings if (chart := speed_up_chart(view, setting, looks)) is not None]
    drawings = {}
    for place, comparison in enumerate(view.comparisons):
        if not _charted(comparison, view):
            continue
        made = [chart for make in (latency_chart, samples_chart) if (chart := make(comparison, looks)) is not None]
        drawn = tuple(draw(f"{prefix}c{place}v{which}", chart) for which, chart in enumerate(made))
        drawings[comparison.variant, comparison.setting.title] = drawn
    return _Section(
        prefix=prefix,
        view=view,
        title=view.run.target.name,
        trades=tuple(_costs(f"{prefix}p{place}", trade, view, looks) for place, trade in enumerate(tradeoffs(view))),
        speed_ups=tuple(draw(f"{prefix}s{place}", chart) for place, chart in enumerate(gains)),
        drawings=drawings,
        tuned=tuple(_tuned(f"{prefix}t{place}", found, view, looks) for place, found in enumerate(tuned_cells(view))),
        profiles=tuple(profile_section(f"{prefix}q{place}", found, looks) for place, found in enumerate(profiles)),
    )


def _tuned(ident: str, found: TunedCell, view: RunView, looks: Styles) -> _Tuned:
    charts = curve_charts(found, looks) if _charted(found.comparison, view) else ()
    return _Tuned(found=found, curves=tuple(draw(f"{ident}v{which}", chart) for which, chart in enumerate(charts)))


def render_html(runs: Sequence[Run], profiles: Sequence[ProfileReport] = ()) -> str:
    """The whole report on *runs* as one HTML document.

    One run gives a page on its target. Several are put side by side first, then shown one after the other. Each of
    *profiles* stands with the first run on its target; one of a target without a run is left out. Raises ValueError
    for no runs at all.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    views = [run_view(run) for run in runs]
    looks = styles([*(name for view in views for name in view.backends), *backends_of(profiles)])
    sections = []
    for number, (view, own) in enumerate(zip(views, _by_run(runs, profiles), strict=True)):
        sections.append(_section(number, view, own, looks))
    code = script(any(section.drawn for section in sections))
    page = environment(**_NAMES).get_template("page.html.j2")
    return str(
        page.render(
            sections=sections,
            looks=looks,
            columns=across.columns(views),
            across=across.across(views),
            css=asset("style.css"),
            script=code,
            script_hash=sha256(code),
        )
    )


def _by_run(runs: Sequence[Run], profiles: Sequence[ProfileReport]) -> list[list[ProfileReport]]:
    """The profiles that belong to each of *runs*."""
    found: list[list[ProfileReport]] = [[] for _ in runs]
    targets = [run.target_id for run in runs]
    for profile in profiles:
        if profile.target_id in targets:
            found[targets.index(profile.target_id)].append(profile)
    return found


_NAMES = {
    **PROFILE_NAMES,
    "facts": facts,
    "strips": strips,
    "verdicts": verdicts,
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
}
"""What the templates of a run call."""
