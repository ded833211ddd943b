"""What the variants of a model cost: latency against accuracy, and the fastest that stays within a point of fp32."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from . import prices, words
from .pareto import Point, front
from .recipes import REFERENCE, full_name, steps_of
from .results import Cell
from .speedups import BASELINE
from .views import CellView, Comparison, RunView, Setting, Verdict, judge

__all__ = [
    "AGREES",
    "LIMIT",
    "LOUD_DB",
    "Measure",
    "Tradeoff",
    "champion_words",
    "cost_words",
    "keeps",
    "measure_of",
    "name_of",
    "tradeoffs",
]

LIMIT = 0.01
"""The loss of accuracy, as a share, that counts as "within 1 point"."""

AGREES = 0.99
"""The share of images on which a variant without an accuracy has to name the class that fp32 names."""

LOUD_DB = 60.0
"""A signal-to-noise ratio from which outputs count as equal: noise of a thousandth of the signal."""

Kind = Literal["accuracy", "agreement", "snr"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """By what the quality of a model's variants is told."""

    kind: Kind
    title: str
    """For an axis: "top-1 accuracy"."""


@dataclass(frozen=True, kw_only=True)
class Tradeoff:
    """All variants of one model at one setting."""

    model: str
    setting: Setting
    random_weights: bool
    comparisons: tuple[Comparison, ...]
    """One for each variant, in the order of the run."""
    measure: Measure | None
    """None where neither accuracy nor fidelity was measured."""
    points: tuple[Point, ...]
    """The cells that have both a latency and a quality."""
    front: tuple[Point, ...]
    """The points that no other dominates, fastest first."""
    fastest: Verdict
    """Over all variants, whatever they cost."""
    within: Verdict | None
    """Over those that lose less than a point against fp32; None where that cannot be said of any cell."""

    @property
    def measured(self) -> tuple[CellView, ...]:
        """All cells with a figure, variant by variant."""
        return tuple(view for comparison in self.comparisons for view in comparison.measured)

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants in the order of the run."""
        return tuple(comparison.variant for comparison in self.comparisons)

    @property
    def leading(self) -> tuple[CellView, ...]:
        """The cells of the front."""
        return tuple(point.view for point in self.front)

    @property
    def priced(self) -> bool:
        """Whether any cell has an accuracy or a fidelity."""
        return self.measure is not None


def name_of(view: CellView) -> str:
    """A cell among those of its model: "int8 on openvino"."""
    return f"{steps_of(view.cell.variant)} on {view.label}"


def keeps(cell: Cell) -> bool | None:
    """Whether *cell* loses less than a point against fp32; None where the run cannot say.

    With an accuracy, its paired lower bound decides; without one, the agreement with fp32 has to reach `AGREES`.
    Eager in fp32 is what all are compared with.
    """
    found, like = cell.accuracy, cell.fidelity
    if found is not None and found.vs_fp32_low is not None:
        return found.vs_fp32_low >= -LIMIT
    if cell.variant == full_name(cell.model) and cell.backend == BASELINE:
        return True
    if found is None and like is not None and like.top1_agreement is not None:
        return like.top1_agreement >= AGREES
    return None


def measure_of(cells: Iterable[Cell]) -> Measure | None:
    """Accuracy if any of *cells* has one, else agreement with fp32, else the signal-to-noise ratio, else nothing."""
    known = list(cells)
    metrics = [cell.accuracy.metric for cell in known if cell.accuracy is not None]
    if metrics:
        return Measure(kind="accuracy", title=prices.metric(metrics[0]))
    likes = [cell.fidelity for cell in known if cell.fidelity is not None]
    if any(like.top1_agreement is not None for like in likes):
        return Measure(kind="agreement", title="top-1 agreement with fp32")
    if any(like.snr_db is not None for like in likes):
        return Measure(kind="snr", title=f"signal-to-noise ratio, dB, at most {LOUD_DB:.0f}")
    return None


def _point(view: CellView, measure: Measure) -> Point | None:
    found, like = view.cell.accuracy, view.cell.fidelity
    if measure.kind == "accuracy":
        return None if found is None else _checked(view, found.value, found.low, found.high)
    if like is None:
        return None
    if measure.kind == "agreement":
        share = like.top1_agreement
        return None if share is None else _checked(view, share, like.top1_low, like.top1_high)
    equal = like.snr_db is None and like.max_abs_error == 0
    noise = math.inf if equal else like.snr_db
    return None if noise is None or math.isnan(noise) else _checked(view, min(LOUD_DB, noise), None, None)


def _checked(view: CellView, value: float, low: float | None, high: float | None) -> Point | None:
    """A point whose interval holds its value; None for a value that is none. Results come from anywhere."""
    if not math.isfinite(value):
        return None
    ends = [end for end in (low, high, value) if end is not None and math.isfinite(end)]
    return Point(view=view, quality=value, low=min(ends), high=max(ends))


def _tradeoff(view: RunView, model: str, comparisons: Sequence[Comparison]) -> Tradeoff:
    floor = view.floor
    measured = [found for comparison in comparisons for found in comparison.measured]
    measure = measure_of(found.cell for found in measured)
    points = [point for found in measured if measure and (point := _point(found, measure)) is not None]
    random = any(comparison.random_weights for comparison in comparisons)
    near = [found for found in measured if keeps(found.cell)]
    return Tradeoff(
        model=model,
        setting=comparisons[0].setting,
        random_weights=random,
        comparisons=tuple(comparisons),
        measure=measure,
        points=tuple(points),
        front=front(points, floor),
        fastest=judge(measured, floor),
        within=judge(near, floor) if near and measure and not random else None,
    )


def tradeoffs(view: RunView) -> tuple[Tradeoff, ...]:
    """Every model at every setting that has several variants, an accuracy or a fidelity; models in the run's order."""
    grouped: dict[str, dict[Setting, list[Comparison]]] = {}
    for comparison in view.comparisons:
        grouped.setdefault(comparison.model, {}).setdefault(comparison.setting, []).append(comparison)
    found = [
        _tradeoff(view, model, settings[setting]) for model, settings in grouped.items() for setting in sorted(settings)
    ]
    return tuple(trade for trade in found if trade.measured and (len(trade.comparisons) > 1 or trade.priced))


def cost_words(view: CellView) -> str:
    """What is known of the cost of *view*'s variant: "loses at most 0.8 pp, 95%", or how it agrees with fp32."""
    found = view.cell.accuracy
    if found is not None and found.vs_fp32_low is not None:
        return prices.versus(found)
    if view.cell.variant == full_name(view.cell.model) and view.cell.backend == BASELINE:
        return f"is {REFERENCE} itself"
    return prices.fidelity(view.cell.fidelity)


def _champions(verdict: Verdict, cost: bool) -> str:
    """The best of *verdict* with its figures, and who ties with it."""
    best = verdict.best
    if best is None:
        return "nothing was measured"
    gain = best.speed_up
    speed = f", {words.times(gain.value)} {gain.reference}" if gain and not gain.is_baseline else ""
    marks = f" ({best.mark_words})" if best.marks else ""
    interval = words.interval_ms(best.interval, best.median_ms) if best.interval else "no interval"
    price = f"; {cost_words(best)}" if cost else ""
    tie = f" (tied with {words.listed([name_of(other) for other in verdict.ties])})" if verdict.ties else ""
    return f"{name_of(best)}{marks} at {words.ms(best.median_ms)} ms ({interval}){speed}{price}{tie}"


def champion_words(trade: Tradeoff) -> tuple[str, ...]:
    """The verdict on one model at one setting: the fastest of all, then the fastest within a point of fp32."""
    first = f"Fastest: {_champions(trade.fastest, trade.priced and not trade.random_weights)}."
    if trade.random_weights:
        return (first, "Random weights: only speed can be told.")
    if trade.within is None:
        return (first, "No cell is known to stay within 1 point of fp32.") if trade.priced else (first,)
    if _keys(trade.within) == _keys(trade.fastest):
        return (first, "That stays within 1 point of fp32.")
    return (first, f"Fastest within 1 point of fp32: {_champions(trade.within, True)}.")


def _keys(verdict: Verdict) -> list[str]:
    return [leader.cell.key for leader in verdict.leaders]
