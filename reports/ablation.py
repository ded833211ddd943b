"""What each step brought and cost: one step at a time against fp32 on the same backend, then steps together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from . import prices, words
from .intervals import Interval, ratio
from .recipes import REFERENCE, full_name, recipe, steps_of
from .tradeoff import Tradeoff
from .views import CellView

__all__ = ["Ablation", "Chain", "Combination", "Effect", "Single", "ablation", "effect", "price_of"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One cell against another variant of its model on the same backend."""

    view: CellView
    value: float
    """Times as fast as the other."""
    bounds: Interval | None
    """Conservative; None where one of the two has no interval."""
    within_noise: bool
    """Not told apart from the other."""

    @property
    def cost(self) -> float | None:
        """Accuracy against fp32 as a difference of shares, paired; None where it was not measured."""
        return self.view.cell.accuracy.vs_fp32 if self.view.cell.accuracy else None


@dataclass(frozen=True, kw_only=True)
class Single:
    """One step by itself on all backends."""

    steps: str
    """The variant without its model: "channel50"."""
    effects: Mapping[str, Effect]
    """By the backend's label; a backend without a figure for it or for fp32 is left out."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A combination on one backend."""

    parts: tuple[Effect, ...]
    """Its steps one at a time, in their order."""
    together: Effect
    product: float
    """Of the single speed-ups: what they would give if none got in the other's way."""
    product_bounds: Interval | None

    @property
    def against_product(self) -> Literal["as", "more than", "less than"]:
        """How the combination compares with the product, as far as the intervals tell the two apart."""
        own, other = self.together.bounds, self.product_bounds
        if own is None or other is None or (own.low <= other.high and other.low <= own.high):
            return "as"
        return "more than" if self.together.value > self.product else "less than"

    @property
    def costs(self) -> float | None:
        """Sum of what the single steps cost in accuracy; None where one is not known."""
        known = [part.cost for part in self.parts if part.cost is not None]
        return math.fsum(known) if len(known) == len(self.parts) else None


@dataclass(frozen=True, kw_only=True)
class Combination:
    """Several steps together on all backends."""

    steps: str
    parts: tuple[str, ...]
    """Its steps, "channel50" and "int8"."""
    missing: tuple[str, ...]
    """Those of them that the run does not have by themselves."""
    effects: Mapping[str, Effect]
    """By the backend's label, where fp32 and the combination were measured."""
    chains: Mapping[str, Chain]
    """By the backend's label, where fp32, every single step and the combination were measured."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """All steps of one model at one setting."""

    labels: tuple[str, ...]
    """Backends that have a figure for fp32, fastest first."""
    singles: tuple[Single, ...]
    combinations: tuple[Combination, ...]


def effect(view: CellView, base: CellView, floor: float) -> Effect:
    """How many times as fast *view* is as *base*, whose interval the noise *floor* widens."""
    both = view.interval is not None and base.interval is not None
    bounds = ratio(base.interval, view.interval) if both and view.interval and base.interval else None
    return Effect(
        view=view,
        value=base.median_ms / view.median_ms,
        bounds=bounds,
        within_noise=bounds is None or bounds.widened(floor).holds(1.0),
    )


def _by_variant(trade: Tradeoff) -> dict[str, dict[str, CellView]]:
    return {found.variant: {view.label: view for view in found.measured} for found in trade.comparisons}


def _single(steps: str, views: Mapping[str, CellView], base: Mapping[str, CellView], floor: float) -> Single:
    found = {label: effect(view, base[label], floor) for label, view in views.items() if label in base}
    return Single(steps=steps, effects=found)


def _chain(parts: Sequence[Effect], together: Effect) -> Chain:
    bounds = [part.bounds for part in parts if part.bounds is not None]
    whole = len(bounds) == len(parts)
    return Chain(
        parts=tuple(parts),
        together=together,
        product=math.prod(part.value for part in parts),
        product_bounds=Interval(low=math.prod(b.low for b in bounds), high=math.prod(b.high for b in bounds))
        if whole
        else None,
    )


def _combination(steps: str, parts: tuple[str, ...], whole: Single, singles: Mapping[str, Single]) -> Combination:
    missing = tuple(part for part in parts if part not in singles)
    chains = {}
    for label, together in whole.effects.items() if not missing else ():
        effects = [singles[part].effects.get(label) for part in parts]
        known = [found for found in effects if found is not None]
        if len(known) == len(parts):
            chains[label] = _chain(known, together)
    return Combination(steps=steps, parts=parts, missing=missing, effects=whole.effects, chains=chains)


def ablation(trade: Tradeoff, floor: float) -> Ablation | None:
    """The steps of *trade* against fp32; None where the run has no fp32 or nothing beside it. *floor*: noise floor."""
    cells = _by_variant(trade)
    base = cells.get(full_name(trade.model), {})
    others = {variant: recipe(variant) for variant in trade.variants if recipe(variant).steps}
    if not base or not others:
        return None
    effects = {found.name: _single(found.name, cells[variant], base, floor) for variant, found in others.items()}
    singles = {found.name: effects[found.name] for found in others.values() if len(found.steps) == 1}
    combinations = [
        _combination(found.name, tuple(step.text for step in found.steps), effects[found.name], singles)
        for found in others.values()
        if len(found.steps) > 1
    ]
    return Ablation(labels=tuple(base), singles=tuple(singles.values()), combinations=tuple(combinations))


def price_of(view: CellView) -> str:
    """What the variant of *view* costs, short enough for a chart: "+0.3 pp", "agrees 99.2%", "27.4 dB"."""
    found, like = view.cell.accuracy, view.cell.fidelity
    if found is not None and found.vs_fp32 is not None:
        return prices.points(found.vs_fp32)
    if steps_of(view.cell.variant) == REFERENCE or like is None:
        return ""
    if like.top1_agreement is not None:
        return f"agrees {words.percent(like.top1_agreement)}"
    return "" if prices.snr(like) == words.MISSING else prices.snr(like)
