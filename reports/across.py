"""The same comparison on several targets, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import words
from .views import CellView, Comparison, RunView

__all__ = ["Across", "Column", "Row", "across", "columns"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One run on one target."""

    title: str
    detail: str
    """The target's id, and the run's where a target has several."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One backend on all targets; None where it was not asked for."""

    label: str
    backend: str
    cells: tuple[CellView | None, ...]


@dataclass(frozen=True, kw_only=True)
class Across:
    """One variant at one setting on two or more targets."""

    variant: str
    random_weights: bool
    setting: str
    """The setting in words; "all cores" stands for as many threads as each target has cores to use."""
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison | None, ...]
    """One for each column."""


_Key = tuple[str, str, int, str]


def columns(views: Sequence[RunView]) -> tuple[Column, ...]:
    """A heading for each run."""
    targets = [view.run.target_id for view in views]
    return tuple(
        Column(
            title=view.run.target.name,
            detail=view.run.target_id
            if targets.count(view.run.target_id) == 1
            else f"{view.run.target_id}, run {view.run.id}",
        )
        for view in views
    )


def _keys(view: RunView, comparison: Comparison) -> list[_Key]:
    setting = comparison.setting
    head = (comparison.variant, setting.scenario, setting.batch)
    found: list[_Key] = [(*head, words.plural(setting.threads, "thread"))]
    if setting.threads == view.run.target.cpu.usable_cores and setting.threads > 1:
        found.append((*head, "all cores"))
    return found


def across(views: Sequence[RunView]) -> tuple[Across, ...]:
    """All comparisons that two or more of *views* share; thread counts match as number or as "all cores"."""
    found: dict[_Key, dict[int, Comparison]] = {}
    for number, view in enumerate(views):
        for comparison in view.comparisons:
            for key in _keys(view, comparison):
                found.setdefault(key, {})[number] = comparison
    shared = {key: members for key, members in found.items() if len(members) > 1}
    counted = [tuple(map(id, members.values())) for key, members in shared.items() if key[3] != "all cores"]
    kept = {
        key: members
        for key, members in shared.items()
        if key[3] != "all cores" or tuple(map(id, members.values())) not in counted
    }
    order = list(dict.fromkeys(key[0] for key in kept))
    ranked = sorted(kept.items(), key=lambda item: order.index(item[0][0]))
    return tuple(_across(key, [members.get(number) for number in range(len(views))]) for key, members in ranked)


def _across(key: _Key, comparisons: Sequence[Comparison | None]) -> Across:
    variant, scenario, batch, threads = key
    cells: dict[str, dict[int, CellView]] = {}
    for number, comparison in enumerate(comparisons):
        for view in (*comparison.measured, *comparison.failures) if comparison else ():
            cells.setdefault(view.label, {})[number] = view
    rows = tuple(
        Row(
            label=label,
            backend=next(iter(found.values())).cell.backend,
            cells=tuple(found.get(number) for number in range(len(comparisons))),
        )
        for label, found in sorted(cells.items())
    )
    return Across(
        variant=variant,
        random_weights=any(comparison.random_weights for comparison in comparisons if comparison),
        setting=f"{threads}, batch {batch}, {scenario}",
        rows=rows,
        comparisons=tuple(comparisons),
    )
