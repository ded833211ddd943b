"""How many times as fast as the baseline: eager's cell of the model's fp32 variant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .intervals import Interval, interval_of, ratio, usable
from .recipes import full_name, steps_of
from .results import Cell

__all__ = ["BASELINE", "SpeedUp", "baseline_of", "has_figure", "speed_up", "took_turns"]

BASELINE = "eager"
"""The backend that every speed-up refers to."""


@dataclass(frozen=True, kw_only=True)
class SpeedUp:
    """How many times faster than the baseline, at the same setting and on the same device."""

    value: float
    interval: Interval | None
    """Conservative, from both cells' intervals; None where one of them has none."""
    within_noise: bool
    """The interval, widened by the noise floor, includes 1 (or there is no interval to say so)."""
    reference: str
    """What it refers to: "eager fp32", or "eager channel50" where the run has no eager cell of fp32."""
    is_baseline: bool = False


def has_figure(cell: Cell) -> bool:
    """Whether *cell* was measured and its median is a latency."""
    return cell.status == "ok" and usable(cell.median_ms)


def took_turns(a: Cell, b: Cell) -> bool:
    """Whether the two were measured in turn: in one sitting and, as far as the run says, in one group."""
    if a.sitting != b.sitting:
        return False
    return a.group is None or b.group is None or a.group == b.group


def baseline_of(cell: Cell, others: Iterable[Cell]) -> Cell | None:
    """The eager cell that *cell* is compared with, among *others* of the same model and setting.

    It is that of the model's fp32 variant on the same device; where that has no figure, that of the cell's own
    variant. Of several, the one without options. Its figures are those of the cell's own group where it was measured
    there once more.
    """
    eager = [
        other for other in others if other.backend == BASELINE and other.device == cell.device and has_figure(other)
    ]
    for variant in (full_name(cell.model), cell.variant):
        found = [other for other in eager if other.variant == variant]
        if found:
            return _beside(cell, min(found, key=lambda other: (len(other.options), other.key)))
    return None


def _beside(cell: Cell, baseline: Cell) -> Cell:
    """*baseline* with the figures that it had in the group of *cell*, where it was measured once more for that."""
    again = cell.baseline
    if again is None or again.cell != baseline.key:
        return baseline
    figures = again.model_dump(exclude={"cell"})
    return baseline.model_copy(update={**figures, "group": cell.group, "sitting": cell.sitting})


def speed_up(cell: Cell, baseline: Cell | None, floor: float) -> SpeedUp | None:
    """The speed-up of *cell* over *baseline*, None where one of them has no median; *floor* is the noise floor."""
    if baseline is None or cell.median_ms is None or baseline.median_ms is None:
        return None
    own, base = interval_of(cell), interval_of(baseline)
    bounds = None if own is None or base is None else ratio(base, own)
    return SpeedUp(
        value=baseline.median_ms / cell.median_ms,
        interval=None if cell.key == baseline.key else bounds,
        within_noise=bounds is None or bounds.widened(floor).holds(1.0),
        reference=f"{BASELINE} {steps_of(baseline.variant)}",
        is_baseline=cell.key == baseline.key,
    )
