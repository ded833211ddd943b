"""The peaks of a target, kept from run to run: of all measurements the best, since a limit is what was ever reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..reports.peak_figures import differences
from ..reports.results import ComputePeak, Peaks
from .folders import data_folder, write_atomically
from .peaks import QUICK, THOROUGH, UNSETTLED_PERCENT, measure_peaks

__all__ = ["best_of", "load_peaks", "save_peaks", "target_peaks"]

Part = TypeVar("Part", bound=BaseModel)


def target_peaks(
    target_id: str, cores: Sequence[int], *, remeasure: bool = False, forget: bool = False, folder: Path | None = None
) -> Peaks:
    """Peaks of the target *target_id*: those kept from earlier runs, else measured on *cores* now and kept.

    *remeasure* measures in any case, and takes its time; what then exceeds the kept figures takes their place. *forget*
    drops those before.
    Hold the host's measuring lock around it. Raises WorkerError as `measure_peaks` does, OSError if they cannot be
    kept.
    """
    kept = None if forget else load_peaks(target_id, folder)
    if kept is not None and not remeasure:
        return kept
    measured = measure_peaks(cores, THOROUGH if remeasure or forget else QUICK)
    peaks = measured if kept is None else best_of(kept, measured)
    save_peaks(target_id, peaks, folder)
    return peaks


def best_of(kept: Peaks, measured: Peaks) -> Peaks:
    """The greater of each two rates, of measurements that were made in the same way; else *measured* alone.

    A virtual machine may have its cores beside each other on one chip at one time and apart at another, which alone can
    halve or double what they get from memory. A layer would exceed a roof that was measured at a bad time.
    """
    if _way(kept) != _way(measured):
        return measured
    compute = tuple(_faster(one, other) for one, other in zip(kept.compute, measured.compute, strict=True))
    tiers = tuple(_greater(one, other) for one, other in zip(kept.tiers, measured.tiers, strict=True))
    best = _greater(kept, measured)
    return best.model_copy(
        update={
            "compute": compute,
            "tiers": tiers,
            "measurements": kept.measurements + measured.measurements,
            "unsettled": differences(kept, measured, above_percent=UNSETTLED_PERCENT),
        }
    )


def _way(peaks: Peaks) -> tuple[object, ...]:
    """What has to be equal for two measurements to be of the same."""
    compute = [(one.precision, one.single_core_gmac_s is None) for one in peaks.compute]
    tiers = [
        (one.tier, one.working_set_bytes, one.instances, one.read_single_core_gbytes_s is None) for one in peaks.tiers
    ]
    return peaks.cores, peaks.method, compute, tiers


def _faster(kept: ComputePeak, measured: ComputePeak) -> ComputePeak:
    """The greater rates, with the instruction that one core reached its own with: two may be equally fast."""
    named = kept if (kept.single_core_gmac_s or 0.0) > (measured.single_core_gmac_s or 0.0) else measured
    return _greater(kept, measured).model_copy(update={"instruction": named.instruction})


def _greater(kept: Part, measured: Part) -> Part:
    """*measured* with those of its own rates, fields of a unit a second, that *kept* exceeds."""
    rates: dict[str, Any] = {
        name: max(value, getattr(kept, name) or 0.0)
        for name, value in measured
        if name.endswith(("gflops", "gmac_s", "gbytes_s")) and value is not None
    }
    return measured.model_copy(update=rates)


def load_peaks(target_id: str, folder: Path | None = None) -> Peaks | None:
    """The peaks kept for *target_id* below *folder* (by default bakeoff's data folder); None if there are none.

    Those that an earlier version kept without all roofs count as none.
    """
    try:
        kept = Peaks.model_validate_json(_file(target_id, folder).read_bytes())
    except (OSError, ValidationError):
        return None
    whole = all(tier.reason or tier.update_single_core_gbytes_s for tier in kept.tiers)
    return kept if kept.compute and whole else None


def save_peaks(target_id: str, peaks: Peaks, folder: Path | None = None) -> None:
    """Keep *peaks* for *target_id*. Raises OSError if they cannot be written."""
    write_atomically(_file(target_id, folder), peaks.model_dump_json(indent=1).encode())


def _file(target_id: str, folder: Path | None) -> Path:
    return (data_folder() if folder is None else folder) / "peaks" / f"{target_id}.json"
