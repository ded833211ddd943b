"""Which variant each convolution of a graph gets, and what an inference then takes, from the trials of its tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .contract import Task, Variant

__all__ = ["Choice", "choose"]

# By so much another variant has to be faster than the direct one: it stores more weights, and rounds more coarsely.
_MARGIN = 0.98


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The fastest graph that the times admit."""

    variants: Mapping[str, Variant]
    """By site, where it is not direct."""
    used: frozenset[str]
    """Hashes of the tasks that this graph consists of."""
    seconds: float | None
    """Sum of the tasks' times by weight; None where a task has none."""


def choose(tasks: Sequence[Task], seconds: Mapping[str, float]) -> Choice:
    """Take for each site the variant whose tasks take least; *seconds* are best times by task hash.

    *tasks* are those of the direct graph and, for its convolutions, of the other variants. A variant is eligible where
    it has a time for every epilogue that the site has in this graph.
    """
    sites: dict[str, dict[str, dict[str, Task]]] = {}
    for task in tasks:
        if task.site:
            sites.setdefault(task.site, {}).setdefault(task.variant, {})[task.epilogue] = task
    variants: dict[str, Variant] = {}
    used = {task.hash for task in tasks if not task.site}
    for site, by_variant in sites.items():
        direct = by_variant["direct"]
        cost = {name: _cost(direct, twins, seconds) for name, twins in by_variant.items()}
        times = {name: value for name, value in cost.items() if value is not None}
        winner = min(times, key=lambda name: times[name] * (_MARGIN if name == "direct" else 1.0), default="direct")
        used |= {by_variant[winner][epilogue].hash for epilogue in direct}
        if winner != "direct":
            variants[site] = next(iter(by_variant[winner].values())).variant
    weights = {task.hash: task.weight for task in tasks}
    known = all(hash_ in seconds for hash_ in used)
    total = sum(weights[hash_] * seconds[hash_] for hash_ in used) if known else None
    return Choice(variants=variants, used=frozenset(used), seconds=total)


def _cost(direct: Mapping[str, Task], twins: Mapping[str, Task], seconds: Mapping[str, float]) -> float | None:
    total = 0.0
    for epilogue, task in direct.items():
        twin = twins.get(epilogue)
        if twin is None or twin.hash not in seconds:
            return None
        total += task.weight * seconds[twin.hash]
    return total
