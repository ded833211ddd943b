"""Two cells of a profile beside each other, layer by layer: variants or backends, whichever pair a reader chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from . import words
from .layer_words import layer_label
from .profile_views import NO_ROW, RUNTIME, UNMAPPED, LayerView, Sitting
from .profiles import BackendProfile, ProfileReport, VariantTimes

__all__ = ["Change", "Pairing", "pairings"]

_DIGITS = 6
"""Decimals of milliseconds: the page and its script compare the same nanoseconds."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One layer in both cells; milliseconds, None where it has no time of its own."""

    label: str
    one_ms: float | None
    other_ms: float | None

    @property
    def ms(self) -> float:
        """What it takes more in the other one."""
        return (self.other_ms or 0.0) - (self.one_ms or 0.0)


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """All cells of one model in one setting that can be compared, and their layers."""

    title: str
    columns: tuple[str, ...]
    """The cells: "mobilenet_v2@fp32 openvino"."""
    medians: tuple[float, ...]
    """Of each column, without the profiler."""
    labels: tuple[str, ...]
    ms: tuple[tuple[float | None, ...], ...]
    """By label, by column."""
    one: int
    """The column to begin with ..."""
    other: int
    """... and the one to compare it with."""

    def changes(self) -> tuple[Change, ...]:
        """The layers of the pair to begin with, the largest difference first."""
        found = (
            Change(label=label, one_ms=row[self.one], other_ms=row[self.other])
            for label, row in zip(self.labels, self.ms, strict=True)
        )
        return tuple(sorted((one for one in found if one.ms), key=lambda one: -abs(one.ms)))

    @property
    def sentence(self) -> str:
        """ "A takes 8.1 ms, B 9.4 ms: 1.3 ms more."."""
        one, other = self.medians[self.one], self.medians[self.other]
        more = "more" if other >= one else "less"
        return (
            f"{self.columns[self.one]} takes {words.ms(one)} ms, {self.columns[self.other]} {words.ms(other)} ms: "
            f"{words.ms(abs(other - one))} ms {more}."
        )

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script compares any pair by."""
        return {
            "columns": self.columns,
            "medians": self.medians,
            "labels": self.labels,
            "ms": self.ms,
        }


def pairings(report: ProfileReport, every: Sequence[Sitting]) -> tuple[Pairing, ...]:
    """One for each model in each setting that has two cells or more whose rows are mapped.

    Layers come from the groups that all variants share where there are several variants. Rows that are in no layer
    are summed by what they are, so that each column adds up to its median.
    """
    found = []
    for setting in dict.fromkeys(_setting(sitting) for sitting in every):
        own = [sitting for sitting in every if _setting(sitting) == setting]
        pairing = _pairing(own, [layer for layer in report.layers if _setting(layer) == setting])
        found += [pairing] if pairing is not None else []
    return tuple(found)


def _setting(found: Sitting | VariantTimes) -> tuple[str, int, int, str]:
    return found.model, found.threads, found.batch, found.device


def _pairing(own: Sequence[Sitting], joined: Sequence[VariantTimes]) -> Pairing | None:
    cells = [
        (sitting, profile) for sitting in own for profile in sitting.profiles if profile.backend in sitting.backends
    ]
    if len(cells) < 2:
        return None
    rows = dict(_rest(cells))
    several = len({sitting.variant for sitting, _ in cells}) > 1
    layers: Iterable[LayerView | VariantTimes] = joined if several else own[0].layers
    labels, ms = [], []
    for layer in layers:
        labels.append(layer.label if isinstance(layer, LayerView) else layer_label(layer))
        ms.append(tuple(_time(layer, profile) for _, profile in cells))
    one, other = _first_pair(cells)
    return Pairing(
        title=f"{own[0].model}, {own[0].setting}",
        columns=tuple(f"{profile.variant} {profile.backend}" for _, profile in cells),
        medians=tuple(profile.median_ms for _, profile in cells),
        labels=(*labels, *rows),
        ms=tuple(tuple(_rounded(time) for time in row) for row in (*ms, *rows.values())),
        one=one,
        other=other,
    )


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, _DIGITS)


def _time(layer: LayerView | VariantTimes, profile: BackendProfile) -> float | None:
    if isinstance(layer, LayerView):
        return layer.ms.get(profile.backend)
    return layer.ms.get(profile.variant, {}).get(profile.backend)


def _rest(cells: Sequence[tuple[Sitting, BackendProfile]]) -> Iterable[tuple[str, tuple[float | None, ...]]]:
    """What is in no layer, by what it is; what no cell has any of is left out."""
    for label, standing in ((RUNTIME, "runtime"), (UNMAPPED, "unmapped")):
        sums = [sum(row.median_ms for row in profile.rows if row.standing == standing) for _, profile in cells]
        if any(sums):
            yield f"({label} rows)", tuple(spent or None for spent in sums)
    if any(profile.residual_ms for _, profile in cells):
        yield f"({NO_ROW})", tuple(profile.residual_ms for _, profile in cells)


def _first_pair(cells: Sequence[tuple[Sitting, BackendProfile]]) -> tuple[int, int]:
    """The first variant's fastest backend against itself in the next variant, else against the next backend."""
    first = cells[0][1]
    for place, (_, profile) in enumerate(cells):
        if profile.backend == first.backend and profile.variant != first.variant:
            return 0, place
    return 0, 1
