"""The energy of this machine's processors by RAPL, as Linux tells it below /sys/class/powercap.

It is the energy of whole packages, whoever used them, so it belongs to a cell only while nothing else runs. Graphics
cards (NVML) are left out: no target with one was there to try it on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["POWERCAP", "EnergyMeter", "find_meter"]

POWERCAP = Path("/sys/class/powercap")
_NO_NVML = "energy of graphics cards (NVML) is never measured"


@dataclass(frozen=True, kw_only=True)
class EnergyMeter:
    """The counters of all packages; without any it says why."""

    ranges_uj: Mapping[Path, int]
    """Counter -> where it begins again at zero, in microjoules."""
    reason: str = ""
    """Why there are none."""

    def read(self) -> tuple[int, ...]:
        """All counters, in microjoules. Raises OSError if one cannot be read any more."""
        return tuple(int(counter.read_text()) for counter in self.ranges_uj)

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """The energy between two readings, less than one round of any counter apart."""
        rounds = zip(before, after, self.ranges_uj.values(), strict=True)
        return sum((later - earlier) % (limit + 1) for earlier, later, limit in rounds) / 1e6


def find_meter(root: Path = POWERCAP) -> EnergyMeter:
    """The meter of this machine."""
    found: dict[Path, int] = {}
    refused = ""
    for zone in sorted(root.glob("intel-rapl:*")):
        # Parts of a package ("intel-rapl:0:1") are in its own figure; "psys" would count everything twice.
        try:
            if zone.name.count(":") > 1 or not (zone / "name").read_text().startswith("package"):
                continue
            counter = zone / "energy_uj"
            int(counter.read_text())
            found[counter] = int((zone / "max_energy_range_uj").read_text())
        except OSError as error:
            refused = f"{error.filename}: {error.strerror}"
    if found and not refused:
        return EnergyMeter(ranges_uj=found)
    why = refused or f"the system has no RAPL counters below {root}"
    return EnergyMeter(ranges_uj={}, reason=f"No energy: {why}; {_NO_NVML}.")
