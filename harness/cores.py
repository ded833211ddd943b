"""The cores that bakeoff may use, and which of them a measured process gets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

__all__ = [
    "Topology",
    "all_cores",
    "cache_instances",
    "choose_cores",
    "core_caches",
    "format_cores",
    "oversubscription",
    "parse_cores",
    "read_topology",
    "usable_cores",
]

SYSFS = Path("/sys/devices/system/cpu")
FAST_SHARE = 0.8
"""A core counts as one of the fast ones if its capacity is at least this share of the greatest."""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """How logical cores lie on the processor; what the system does not tell is left out."""

    siblings: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """All logical cores (hyper-threads) of the same physical core, itself among them, ascending."""
    capacity: Mapping[int, float] = field(default_factory=dict)
    """Relative speed where cores differ (big.LITTLE, P and E cores), in any unit."""


def usable_cores() -> tuple[int, ...]:
    """Logical cores of the cpuset that this process inherited, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(psutil.cpu_count() or 1))


def all_cores(usable: Sequence[int], quota_cores: float | None) -> int:
    """How many threads "all cores" means: the cpuset's cores, or fewer where a CPU quota stops more from running.

    A quota of 1.5 cores means one thread: two would be stopped in every period.
    """
    if quota_cores is None:
        return len(usable)
    return max(1, min(len(usable), int(quota_cores)))


def choose_cores(threads: int, usable: Sequence[int], topology: Topology | None = None) -> tuple[int, ...]:
    """The cores for a process with *threads* threads, ascending; all of *usable* if it has more threads than those.

    Every physical core gets one thread before any gets two, fast cores come before slow ones, and the lowest physical
    core, where the parent and most interrupts run, comes last among equals. By default *topology* is read from the
    system.
    """
    layout = read_topology(usable) if topology is None else topology
    fastest = max(layout.capacity.values(), default=0.0)
    lowest = min(usable)
    beside_parent = set(layout.siblings.get(lowest, (lowest,)))

    def preference(core: int) -> tuple[int, bool, bool, int]:
        physical = [other for other in layout.siblings.get(core, (core,)) if other in usable]
        slow = layout.capacity.get(core, fastest) < FAST_SHARE * fastest
        return physical.index(core), slow, core in beside_parent, core

    return tuple(sorted(sorted(usable, key=preference)[:threads]))


def oversubscription(threads: int, cores: int) -> str | None:
    """Says so in words if *threads* threads have to share *cores* cores."""
    if threads <= cores:
        return None
    return f"{threads} threads share {cores} core{'s' if cores != 1 else ''}"


def read_topology(cores: Iterable[int], root: Path = SYSFS) -> Topology:
    """Layout of *cores* as the kernel tells it below *root*; empty where it does not."""
    siblings: dict[int, tuple[int, ...]] = {}
    capacity: dict[int, float] = {}
    for core in cores:
        folder = root / f"cpu{core}"
        shared = _text(folder / "topology" / "thread_siblings_list")
        if shared:
            siblings[core] = tuple(sorted(parse_cores(shared)))
        speed = _text(folder / "cpu_capacity") or _text(folder / "cpufreq" / "cpuinfo_max_freq")
        if speed:
            capacity[core] = float(speed)
    return Topology(siblings=siblings, capacity=capacity)


def core_caches(core: int, root: Path = SYSFS) -> dict[str, int]:
    """Bytes of each cache instance that serves *core*: {"L1d": ..., "L1i": ..., "L2": ..., "L3": ...}."""
    caches: dict[str, int] = {}
    for folder in sorted((root / f"cpu{core}" / "cache").glob("index*")):
        size = _text(folder / "size")
        if size.endswith("K"):
            kind = {"Data": "d", "Instruction": "i"}.get(_text(folder / "type"), "")
            caches[f"L{_text(folder / 'level')}{kind}"] = int(size[:-1]) * 1024
    return dict(sorted(caches.items()))


def cache_instances(cores: Iterable[int], root: Path = SYSFS) -> dict[str, int]:
    """How many caches of each level serve *cores*, by the names of `core_caches`; 1 where the system does not tell."""
    found: dict[str, set[str]] = {}
    for core in cores:
        for folder in (root / f"cpu{core}" / "cache").glob("index*"):
            kind = {"Data": "d", "Instruction": "i"}.get(_text(folder / "type"), "")
            shared = _text(folder / "shared_cpu_list") or "all"
            found.setdefault(f"L{_text(folder / 'level')}{kind}", set()).add(shared)
    return {name: len(instances) for name, instances in sorted(found.items())}


def parse_cores(text: str) -> tuple[int, ...]:
    """Cores in the kernel's list format: "0-2,8" is (0, 1, 2, 8). Raises ValueError if it is not one."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def format_cores(cores: Iterable[int]) -> str:
    """The kernel's list format of *cores*: (0, 1, 2, 8) is "0-2,8"."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
