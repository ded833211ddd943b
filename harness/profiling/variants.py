"""The same layers in several variants of a model: what int8 gains where, and where it loses."""

from __future__ import annotations

from collections.abc import Sequence

from ...models.sets import Sets
from ...reports.profiles import GroupTimes, VariantTimes
from .graph import MOVABLE

__all__ = ["across_variants"]

Setting = tuple[str, int, int, str]


def across_variants(groups: Sequence[GroupTimes]) -> list[VariantTimes]:
    """Groups of all variants of a model in one setting, joined wherever they hold a node of the same name.

    Steps keep the names of convolutions and products; quantizing adds and removes others. Names of roundings, and of
    what only arranges, join nothing. A model of which there is one variant is left out.
    """
    found: list[VariantTimes] = []
    for setting in dict.fromkeys(_setting(group) for group in groups):
        own = [group for group in groups if _setting(group) == setting]
        if len({group.variant for group in own}) > 1:
            found += _joined(own)
    return found


def _setting(group: GroupTimes) -> Setting:
    return group.model, group.threads, group.batch, group.device


def _joined(groups: Sequence[GroupTimes]) -> list[VariantTimes]:
    sets = Sets(len(groups))
    first: dict[str, int] = {}
    for place, group in enumerate(groups):
        for name, op in zip(group.nodes, group.ops, strict=True):
            if op not in MOVABLE:
                sets.join(first.setdefault(name, place), place)
    parts: dict[int, list[GroupTimes]] = {}
    for place, group in enumerate(groups):
        parts.setdefault(sets.find(place), []).append(group)
    return [_times(part) for part in parts.values()]


def _times(part: Sequence[GroupTimes]) -> VariantTimes:
    ms: dict[str, dict[str, float]] = {}
    facts: dict[str, tuple[str, str]] = {}
    for group in part:
        spent = ms.setdefault(group.variant, {})
        for backend, time in group.ms.items():
            spent[backend] = spent.get(backend, 0.0) + time
        facts.update(zip(group.nodes, zip(group.ops, group.scopes, strict=True), strict=True))
    kept = {name: known for name, known in facts.items() if known[0] not in MOVABLE} or facts
    group = part[0]
    return VariantTimes(
        model=group.model,
        threads=group.threads,
        batch=group.batch,
        device=group.device,
        nodes=tuple(kept),
        ops=tuple(op for op, _ in kept.values()),
        scopes=tuple(scope for _, scope in kept.values()),
        ms=ms,
    )
