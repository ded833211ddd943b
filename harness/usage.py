"""What a process has used so far, read from within it: CPU time by thread, memory, context switches."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Usage", "own_usage", "working_threads"]

WORKING_SHARE = 0.1
"""A thread counts as working if it burned at least this share of what the busiest thread burned."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Counters since the process started."""

    thread_cpu_s: Mapping[int, float]
    """CPU seconds, user and system, by thread id."""
    rss_bytes: int
    peak_rss_bytes: int
    rss_method: str
    involuntary_switches: int


def own_usage() -> Usage:
    """Counters of this process."""
    process = psutil.Process()
    peak, method = _peak_rss()
    return Usage(
        thread_cpu_s={thread.id: thread.user_time + thread.system_time for thread in process.threads()},
        rss_bytes=int(process.memory_info().rss),
        peak_rss_bytes=peak,
        rss_method=method,
        involuntary_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
    )


def working_threads(before: Usage, after: Usage) -> int:
    """How many threads really worked between the two readings."""
    used = [seconds - before.thread_cpu_s.get(thread, 0.0) for thread, seconds in after.thread_cpu_s.items()]
    busiest = max(used, default=0.0)
    if busiest <= 0.0:
        return 0
    return sum(1 for seconds in used if seconds >= WORKING_SHARE * busiest)


def _peak_rss() -> tuple[int, str]:
    """Highest resident set of this program, in bytes, and how it is known.

    Linux keeps ru_maxrss across exec, so it would show the parent's peak; VmHWM starts afresh with the program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024, "VmHWM of /proc/self/status"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "ru_maxrss of getrusage"
