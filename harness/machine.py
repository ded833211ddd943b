"""The machine's state around a measurement, and what in it makes a figure suspicious.

`count` is cheap enough to be called around every block; `snapshot` and the scans of `processes` belong between groups.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil

from ..reports.results import MachineState
from .cgroup import own_cgroup
from .cores import parse_cores

__all__ = ["Counters", "count", "judge", "judge_state", "snapshot", "subtract", "worker_memory"]

OTHERS_SHARE = 0.10
"""Other processes may use this share of one core."""
STEAL_SHARE = 0.02
"""The hypervisor may take this share of the time in which our cores had work."""
LOAD_PER_CORE = 1.0
"""A load average above this, for each core, means that threads had to queue before the run began."""
TEMPERATURE_C = 90.0
"""From here processors lower their clock."""
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
"""The kernel counts CPU time in ticks, so each core's counters are off by up to one at each end."""
SLOW_GOVERNORS = ("powersave", "conservative")
SCALING_DRIVERS = ("intel_pstate", "amd-pstate-epp")
"""Their "powersave" raises the clock on demand; elsewhere it pins the lowest."""

_ONLINE = Path("/sys/devices/system/cpu/online")
_CPUFREQ = "/sys/devices/system/cpu/cpu{core}/cpufreq/"
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal", "acpitz")


MEMORY_SHARE = 0.9
"""Share of the available memory that one worker may take, unless the suite says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Counters since boot, or their growth between two readings."""

    busy_s: float
    """Seconds of CPU time that all processes and the kernel took, summed over the cores counted."""
    steal_s: float
    """Seconds that the hypervisor gave to others while those cores had work."""
    throttled_periods: int | None
    """How often the CPU quota stopped us; None without a control group."""
    oom_kills: int | None
    """How many processes of our control group the kernel killed for lack of memory; None if it does not say."""


def count(cores: Sequence[int]) -> Counters:
    """Read the counters of *cores*; takes a fraction of a millisecond."""
    busy_s, steal_s = _times(cores)
    group = own_cgroup().counters()
    return Counters(
        busy_s=busy_s,
        steal_s=steal_s,
        throttled_periods=group.throttled_periods,
        oom_kills=group.oom_kills,
    )


def subtract(after: Counters, before: Counters) -> Counters:
    """What was counted between the two readings."""
    return Counters(
        busy_s=after.busy_s - before.busy_s,
        steal_s=after.steal_s - before.steal_s,
        throttled_periods=_growth(after.throttled_periods, before.throttled_periods),
        oom_kills=_growth(after.oom_kills, before.oom_kills),
    )


def judge(
    before: Counters,
    after: Counters,
    own_cpu_s: float,
    wall_s: float,
    cores: int,
    *,
    state: MachineState | None = None,
) -> tuple[str, ...]:
    """Reasons, in words, to suspect what was measured between the two readings; none if all was quiet.

    *own_cpu_s* is the CPU time that bakeoff's own processes took meanwhile, *wall_s* the seconds that passed, *cores*
    the number of cores counted. *state* adds what `judge_state` says. Kernel counters advance in ticks, so less than
    about a second tells little: shorter stretches can only hide disturbance, never make it up.
    """
    grown = subtract(after, before)
    blur = 2 * TICK_S * cores
    reasons: list[str] = []
    others = (grown.busy_s - own_cpu_s - blur) / wall_s
    if others > OTHERS_SHARE:
        reasons.append(f"other processes used {others:.0%} of a core")
    worked = grown.busy_s + grown.steal_s
    if grown.steal_s > blur and grown.steal_s > STEAL_SHARE * worked:
        reasons.append(f"the hypervisor stole {grown.steal_s / worked:.1%} of the time")
    if grown.throttled_periods:
        reasons.append(f"the CPU quota stopped the container {_times_word(grown.throttled_periods)}")
    if grown.oom_kills:
        reasons.append(f"the kernel killed for lack of memory {_times_word(grown.oom_kills)}")
    return (*reasons, *(judge_state(state, cores) if state is not None else ()))


def judge_state(state: MachineState, cores: int) -> tuple[str, ...]:
    """Reasons, in words, to suspect what is measured in this *state* of a machine with *cores* usable cores.

    Take the state before the run's own work raises the load.
    """
    reasons: list[str] = []
    if state.load_1m is not None and state.load_1m > LOAD_PER_CORE * cores:
        reasons.append(f"load average {state.load_1m:.1f} on {cores} core{'s' if cores != 1 else ''} before the run")
    governor, _, driver = (state.governor or "").partition(" ")
    if governor in SLOW_GOVERNORS and driver.strip("()") not in SCALING_DRIVERS:
        reasons.append(f"frequency governor is {governor}")
    if state.temperature_c is not None and state.temperature_c >= TEMPERATURE_C:
        reasons.append(f"temperature {state.temperature_c:.0f} C")
    reasons.extend(f"busy beside it: {process}" for process in state.busy_processes)
    return tuple(reasons)


def snapshot(
    cores: Sequence[int],
    *,
    since: Counters | None = None,
    busy_processes: Sequence[str] = (),
) -> MachineState:
    """The machine's state now; frequency and governor are those of the first of *cores*.

    *since* is an earlier reading: the state then has the steal time between the two. *busy_processes* come from
    `processes.busy_processes`.
    """
    now = count(cores)
    headroom = own_cgroup().memory_headroom()
    available = int(psutil.virtual_memory().available)
    return MachineState(
        when=datetime.now(UTC),
        load_1m=round(os.getloadavg()[0], 2),
        governor=_governor(cores[0]),
        frequency_mhz=_frequency_mhz(cores[0]),
        temperature_c=_temperature_c(),
        steal_percent=_steal_percent(now, since) if since is not None else None,
        throttled_periods=now.throttled_periods,
        memory_available_bytes=available if headroom is None else min(available, headroom),
        busy_processes=tuple(busy_processes),
    )


def _times(cores: Sequence[int]) -> tuple[float, float]:
    """Busy and stolen seconds of *cores*; of the whole system where the kernel's list cannot be told apart by core."""
    by_core = psutil.cpu_times(percpu=True)
    online = _online()
    if len(online) == len(by_core) and set(cores) <= set(online):
        chosen = [by_core[online.index(core)] for core in cores]
    else:
        chosen = by_core
    busy = sum(getattr(times, kind, 0.0) for times in chosen for kind in ("user", "nice", "system", "irq", "softirq"))
    return busy, sum(getattr(times, "steal", 0.0) for times in chosen)


@cache
def _online() -> tuple[int, ...]:
    try:
        return parse_cores(_ONLINE.read_text())
    except OSError:
        return tuple(range(psutil.cpu_count() or 1))


def _growth(after: int | None, before: int | None) -> int | None:
    return after - before if after is not None and before is not None else None


def _times_word(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _steal_percent(now: Counters, since: Counters) -> float:
    grown = subtract(now, since)
    worked = grown.busy_s + grown.steal_s
    return round(100.0 * grown.steal_s / worked, 2) if worked > 0.0 else 0.0


def _governor(core: int) -> str | None:
    """ "performance (intel_pstate)": the governor and its driver."""
    folder = Path(_CPUFREQ.format(core=core))
    try:
        governor = (folder / "scaling_governor").read_text().strip()
        return f"{governor} ({(folder / 'scaling_driver').read_text().strip()})"
    except OSError:
        return None


def _frequency_mhz(core: int) -> float | None:
    """Clock of *core* now; None where the kernel does not scale it, as in virtual machines."""
    try:
        return int((Path(_CPUFREQ.format(core=core)) / "scaling_cur_freq").read_text()) / 1000.0
    except OSError:
        return None


def _temperature_c() -> float | None:
    """The hottest of the processor's sensors."""
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    readings = [sensor.current for name in _CPU_SENSORS for sensor in sensors.get(name, ())]
    return max(readings, default=None)


def worker_memory(limit_gib: float | None) -> int:
    """Bytes of memory that one worker may take: *limit_gib* if it is given, else most of what is available now."""
    if limit_gib:
        return int(limit_gib * 2**30)
    available = int(psutil.virtual_memory().available * MEMORY_SHARE)
    headroom = own_cgroup().memory_headroom()
    return available if headroom is None else min(available, headroom)
