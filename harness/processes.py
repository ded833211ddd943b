"""Which other processes kept the machine busy between two looks."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import psutil

__all__ = ["ProcessScan", "busy_processes", "scan_processes"]

BUSY_SHARE = 0.10
"""Share of one core from which a process is named."""


@dataclass(frozen=True, kw_only=True)
class _Process:
    name: str
    parent: int
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class ProcessScan:
    """All processes at one moment."""

    at_s: float
    """Monotonic clock."""
    processes: Mapping[tuple[int, float], _Process]
    """By process id and time of birth, since ids are used again."""


def scan_processes() -> ProcessScan:
    """Look at all processes that this user can see; about 0.1 ms for each."""
    found: dict[tuple[int, float], _Process] = {}
    for process in psutil.process_iter(["name", "ppid", "create_time", "cpu_times"]):
        facts = process.info
        if facts["cpu_times"] is not None and facts["create_time"] is not None:
            found[process.pid, facts["create_time"]] = _Process(
                name=str(facts["name"] or "?"),
                parent=int(facts["ppid"] or 0),
                cpu_s=float(facts["cpu_times"].user + facts["cpu_times"].system),
            )
    return ProcessScan(at_s=time.monotonic(), processes=found)


def busy_processes(before: ProcessScan, after: ProcessScan, own: Collection[int]) -> tuple[str, ...]:
    """Processes that used more than `BUSY_SHARE` of a core between two scans, the busiest first: "make (71): 87% ...".

    Processes whose ids are in *own*, and all that descend from them, are left out.
    """
    ours = _with_descendants(after, own)
    seconds = max(after.at_s - before.at_s, 1e-3)
    shares: list[tuple[float, str]] = []
    for key, process in after.processes.items():
        earlier = before.processes.get(key)
        share = (process.cpu_s - (earlier.cpu_s if earlier is not None else 0.0)) / seconds
        if share > BUSY_SHARE and key[0] not in ours:
            name = process.name if process.name.isprintable() else ascii(process.name)
            shares.append((share, f"{name} ({key[0]}): {share:.0%} of a core"))
    return tuple(text for _, text in sorted(shares, reverse=True))


def _with_descendants(scan: ProcessScan, roots: Collection[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for (pid, _), process in scan.processes.items():
        children.setdefault(process.parent, []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found
