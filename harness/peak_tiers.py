"""The levels of this machine's memory, and how much each core works on to have its data in just that one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Tier", "plan_tiers"]

_MB = 2**20
_BEYOND = 8
"""A working set is this many times as large as the caches nearer to the core, where the level itself has the room: then
hardly anything of it is found there."""
_MEMORY_LEAST = 64 * _MB
_MEMORY_CACHES = 8
"""All cores together work on this many times the last cache, so that memory is measured ..."""
_MEMORY_SHARE = 8
"""... but on no more than this part of the memory that is free."""
_LINE = 1024


@dataclass(frozen=True, kw_only=True)
class Tier:
    """One level."""

    name: str
    """"L1", "L2", "L3", "memory"."""
    capacity_bytes: int | None
    """Of one cache; None for memory."""
    instances: int
    """Caches of this level that the cores have together."""
    working_set_bytes: int
    """Of each core."""


def plan_tiers(
    caches: Mapping[str, int], instances: Mapping[str, int], cores: Sequence[int], free_bytes: int
) -> tuple[Tier, ...]:
    """The levels by *caches* and *instances* (as `cores.core_caches` and `cores.cache_instances` tell), nearest first.

    With *free_bytes* of memory free. Memory is always there, the last one; where it is too small for arrays that no
    cache could hold, its rate comes out too high, which makes a roof too high and never too low.
    """
    found: list[Tier] = []
    nearer = 0
    for cache in ("L1d", "L2", "L3", "L4"):
        size = caches.get(cache, 0)
        count = min(instances.get(cache, 1), len(cores))
        share = size * count // len(cores)
        # Half of it, since the rest of the machine has a part in it too.
        room = share // 2
        if room <= nearer:
            continue
        wanted = room if not nearer else min(room, _BEYOND * nearer)
        found.append(
            Tier(
                name=cache.removesuffix("d"),
                capacity_bytes=size,
                instances=count,
                working_set_bytes=max(_LINE, wanted // _LINE * _LINE),
            )
        )
        nearer = share
    last = max((tier.capacity_bytes or 0) * tier.instances for tier in found) if found else 0
    beyond = min(_MEMORY_CACHES * last, free_bytes // _MEMORY_SHARE) // len(cores)
    size = max(_MEMORY_LEAST, beyond) // _LINE * _LINE
    return (*found, Tier(name="memory", capacity_bytes=None, instances=1, working_set_bytes=size))
