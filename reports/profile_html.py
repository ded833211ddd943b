"""Profiles as HTML: a section of a run's report, or a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import profile_verdicts, words
from .drawing import Styles
from .page import Drawn, asset, draw, environment, script, sha256
from .palette import kind_variables, styles
from .profile_charts import heat_chart, kind_chart
from .profile_diff import Pairing, pairings
from .profile_views import Sitting, kind_order, sittings
from .profiles import ProfileReport
from .results import Peaks
from .roofline_chart import roofline_chart

__all__ = ["PROFILE_NAMES", "DrawnSitting", "ProfileSection", "backends_of", "profile_section", "render_profile_html"]

_FEW = 200
"""Layers of a table that are shown and printed without asking for more."""

PROFILE_NAMES: dict[str, Any] = {"said": profile_verdicts, "kind_variables": kind_variables(), "few_rows": _FEW}
"""What the templates of a profile call."""


@dataclass(frozen=True, kw_only=True)
class DrawnSitting:
    """A sitting with its charts; *ident* is unique in the page."""

    ident: str
    sitting: Sitting
    charts: tuple[Drawn, ...]


@dataclass(frozen=True, kw_only=True)
class ProfileSection:
    """One profile report in a page."""

    prefix: str
    report: ProfileReport
    sittings: tuple[DrawnSitting, ...]
    pairings: tuple[Pairing, ...]

    @property
    def drawn(self) -> bool:
        """Whether there is any chart."""
        return any(found.charts for found in self.sittings)

    @property
    def versions(self) -> dict[str, str]:
        """Of the backends, where they are known."""
        return {found.backend: found.version for found in self.report.profiles if found.version}

    @property
    def title(self) -> str:
        """The variants, or how many there are."""
        variants = list(dict.fromkeys(found.sitting.variant for found in self.sittings))
        return words.listed(variants) if len(variants) <= _NAMED else f"{len(variants)} variants"


_NAMED = 3
"""A heading names so many variants."""


def profile_section(prefix: str, report: ProfileReport, looks: Styles) -> ProfileSection:
    """*report* with its charts drawn; *prefix* begins every id."""
    every = sittings(report)
    kinds = kind_order(every)
    return ProfileSection(
        prefix=prefix,
        report=report,
        sittings=tuple(
            _drawn(f"{prefix}s{place}", sitting, report.peaks, looks, kinds) for place, sitting in enumerate(every)
        ),
        pairings=pairings(report, every),
    )


def _drawn(ident: str, sitting: Sitting, peaks: Peaks | None, looks: Styles, kinds: Sequence[str]) -> DrawnSitting:
    made = (kind_chart(sitting, kinds), heat_chart(sitting), roofline_chart(sitting, peaks, looks))
    charts = (chart for chart in made if chart is not None)
    return DrawnSitting(
        ident=ident,
        sitting=sitting,
        charts=tuple(draw(f"{ident}v{place}", chart) for place, chart in enumerate(charts)),
    )


def backends_of(reports: Sequence[ProfileReport]) -> list[str]:
    """Every backend that is named in *reports*."""
    names = [
        name
        for report in reports
        for name in (*(one.backend for one in report.profiles), *(one.backend for one in report.not_profiled))
    ]
    return [*dict.fromkeys(names)]


def render_profile_html(report: ProfileReport) -> str:
    """A page on *report* alone."""
    looks = styles(backends_of([report]))
    section = profile_section("q", report, looks)
    code = script(section.drawn)
    page = environment(**PROFILE_NAMES).get_template("profile_page.html.j2")
    return str(page.render(section=section, looks=looks, css=asset("style.css"), script=code, script_hash=sha256(code)))
