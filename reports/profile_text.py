"""Profiles as tables in the terminal: for `bakeoff profile`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from . import words
from .layer_words import layer_label
from .profile_verdicts import signed
from .profiles import BackendProfile, GroupTimes, ProfileReport, VariantTimes

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["profile_report"]

Setting = tuple[str, int, int, str]
"""Variant, threads, batch, device."""

_SHOWN_FAILURES = 2


def profile_report(report: ProfileReport, top: int) -> Group:
    """For each variant how its backends were profiled, its *top* costliest parts, and what was not profiled."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for setting in dict.fromkeys(_setting(profile) for profile in report.profiles):
        profiles = [profile for profile in report.profiles if _setting(profile) == setting]
        parts.append(_coverage(setting, profiles))
        parts.extend(_remarks(profiles))
        if any(profile.limit_ms is not None for profile in profiles):
            parts.append(_limits(profiles))
        groups = [group for group in report.groups if _setting(group) == setting]
        if groups:
            parts.append(_layers(groups, top))
    for model in dict.fromkeys(_model(layer) for layer in report.layers):
        layers = [layer for layer in report.layers if _model(layer) == model]
        parts.extend(_variants(layers, top))
    for missing in report.not_profiled:
        text = Text(_clean(f"{missing.variant} {missing.backend} ")).append(missing.status, style="yellow")
        parts.append(text.append(_clean(f": {missing.reason}")))
    if report.profiles:
        parts.append(Text(_LEGEND, style="dim"))
    parts.extend(Text(_clean(words), style="dim") for words in report.assumptions)
    return Group(*parts)


_LEGEND = (
    "Residual: median without the profiler less the sum of all rows. Between: what no row accounts for within a "
    "profiled inference. Anchored: time in rows whose nodes the runtime itself tells; grown: only the graph around "
    "them does; runtime: its own copies and conversions."
)


def _clean(text: str) -> str:
    """*text* without characters that would steer the terminal; names come from anywhere."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _setting(found: BackendProfile | GroupTimes) -> Setting:
    return found.variant, found.threads, found.batch, found.device


def _title(setting: Setting) -> str:
    variant, threads, batch, device = setting
    parts = [variant, words.plural(threads, "thread")]
    parts += [f"batch {batch}"] if batch != 1 else []
    return _clean(", ".join([*parts, *([device] if device != "cpu" else [])]))


def _coverage(setting: Setting, profiles: Sequence[BackendProfile]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(_title(setting), style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0
    )
    table.add_column("backend", min_width=11)
    for name in ("ms", "residual", "between", "overhead", "anchored", "grown", "runtime", "unmapped"):
        table.add_column(name, justify="right", no_wrap=True)
    for profile in sorted(profiles, key=lambda found: found.median_ms):
        label = Text(_clean(profile.backend))
        if profile.refused:
            label.append(" refused", style="red")
        shares = profile.shares
        table.add_row(
            label,
            words.ms(profile.median_ms),
            signed(profile.residual_ms, profile.median_ms),
            signed(profile.between_ms, profile.median_ms),
            signed(profile.overhead - 1, 1),
            *(words.percent(share) for share in (shares.anchored, shares.grown, shares.runtime, shares.unmapped)),
        )
    return table


def _limits(profiles: Sequence[BackendProfile]) -> Table:
    """How near each backend comes to what this machine could do at best."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("backend", min_width=11)
    for name in ("ms", "limit, ms", "efficiency", "bound by", "rows' limit, ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for profile in sorted(profiles, key=lambda found: found.median_ms):
        table.add_row(
            _clean(profile.backend),
            words.ms(profile.median_ms),
            words.ms(profile.limit_ms),
            words.percent(profile.efficiency),
            f"{profile.roof.bound}, {profile.roof.precision}" if profile.roof else words.MISSING,
            words.ms(profile.rows_limit_ms),
        )
    return table


def _remarks(profiles: Sequence[BackendProfile]) -> Iterator[Text]:
    """Failed checks, and whatever else must stand beside the figures."""
    from rich.text import Text

    for profile in profiles:
        name = _clean(profile.backend)
        for check, failures in profile.failures.items():
            more = f" (and {len(failures) - _SHOWN_FAILURES} more)" if len(failures) > _SHOWN_FAILURES else ""
            shown = _clean("; ".join(failures[:_SHOWN_FAILURES]))
            yield Text(f"{name} refused, ", style="red").append(f"{check}: {shown}{more}", style="default")
        if profile.marks:
            yield Text(f"{name}: {_clean(', '.join(profile.marks))}", style="yellow")
        for note in profile.notes:
            yield Text(f"{name}: {_clean(note)}", style="dim")
        if profile.energy_mj is not None:
            yield Text(f"{name}: {words.ms(profile.energy_mj)} mJ an inference, all of the processor", style="dim")
    for reason in dict.fromkeys(reason for profile in profiles for reason in profile.suspicious):
        who = [_clean(profile.backend) for profile in profiles if reason in profile.suspicious]
        yield Text(f"{words.listed(who)} suspicious: ", style="yellow").append(_clean(reason), style="default")


def _layers(groups: Sequence[GroupTimes], top: int) -> Table:
    """The groups that cost most, by their largest time in any backend; the others as one line."""
    from rich import box
    from rich.table import Table

    backends = list(dict.fromkeys(backend for group in groups for backend in group.ms))
    limited = any(group.limit_ms is not None for group in groups)
    shown = sorted(groups, key=lambda group: -max(group.ms.values()))[:top]
    rest = [group for group in groups if group not in shown]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_footer=bool(rest))
    table.add_column("layer, ms", min_width=20, footer=f"{len(rest)} others" if rest else "")
    for backend in backends:
        footer = words.ms(sum(group.ms.get(backend, 0.0) for group in rest))
        table.add_column(_clean(backend), justify="right", no_wrap=True, footer=footer)
    if limited:
        for name in ("limit", "reached"):
            table.add_column(name, justify="right", no_wrap=True)
    for group in shown:
        cells = [words.ms(group.ms.get(backend)) for backend in backends]
        table.add_row(_clean(layer_label(group)), *cells, *(_best_of_limit(group) if limited else ()))
    return table


def _best_of_limit(group: GroupTimes) -> tuple[str, str]:
    """The limit of *group*, and how near the backend comes to it that is fastest there."""
    best = min(group.ms.values(), default=0.0)
    near = group.limit_ms / best if group.limit_ms is not None and best > 0 else None
    return words.ms(group.limit_ms), words.percent(near)


def _model(layer: VariantTimes) -> Setting:
    return layer.model, layer.threads, layer.batch, layer.device


def _variants(layers: Sequence[VariantTimes], top: int) -> Iterator[Table]:
    """Each variant against the first one: the layers where most time changes, the largest loss first."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    first, *others = dict.fromkeys(variant for layer in layers for variant in layer.ms)
    for other in others:
        both = [layer for layer in layers if first in layer.ms and other in layer.ms]
        backends = [
            backend
            for backend in dict.fromkeys(name for layer in both for name in layer.ms[first])
            if any(backend in layer.ms[other] for layer in both)
        ]
        title = Text(f"{_clean(first)} and {_clean(other)}, {words.plural(layers[0].threads, 'thread')}", style="bold")
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
        table.add_column("layer, ms", min_width=20)
        for backend in backends:
            table.add_column(_clean(backend), justify="right", no_wrap=True)
        for layer in sorted(both, key=lambda layer: -_change(layer, first, other))[:top]:
            pairs = ((layer.ms[first].get(backend), layer.ms[other].get(backend)) for backend in backends)
            table.add_row(
                _clean(layer_label(layer)), *(f"{words.ms(before)}\n→ {words.ms(after)}" for before, after in pairs)
            )
        yield table


def _change(layer: VariantTimes, first: str, other: str) -> float:
    """The largest change of time in any backend, in milliseconds; losses before gains of the same size."""
    before, after = layer.ms[first], layer.ms[other]
    changes = [after[backend] - before[backend] for backend in before if backend in after]
    return max((abs(change) + (1e-9 if change > 0 else 0.0) for change in changes), default=0.0)
