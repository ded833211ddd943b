"""The rates of a target's peaks, each by its name."""

from __future__ import annotations

from collections.abc import Collection

from .results import Peaks

__all__ = ["differences", "peak_figures", "percent_apart", "roof_names", "unsettled_words"]

_WHERE = ("one core", "all cores")


def peak_figures(peaks: Peaks) -> dict[str, tuple[float, str]]:
    """Each rate that was measured, and its unit, by a name for people."""
    ways: dict[str, tuple[tuple[float | None, float | None], str]] = {
        "fp32 GEMM": ((peaks.gemm_fp32_single_core_gflops, peaks.gemm_fp32_all_cores_gflops), "GFLOP/s"),
        "numpy copies": ((peaks.copy_bandwidth_single_core_gbytes_s, peaks.copy_bandwidth_all_cores_gbytes_s), "GB/s"),
    }
    for peak in peaks.compute:
        ways[f"{peak.precision} multiply-adds"] = ((peak.single_core_gmac_s, peak.all_cores_gmac_s), "GMAC/s")
    for tier in peaks.tiers:
        ways |= {f"{tier.tier} {way}": (pair, "GB/s") for way, pair in tier.rates_gbytes_s.items()}
    return {
        f"{name}, {where}": (rate, unit)
        for name, (pair, unit) in ways.items()
        for where, rate in zip(_WHERE, pair, strict=True)
        if rate is not None
    }


def differences(one: Peaks, other: Peaks, *, above_percent: float) -> dict[str, float]:
    """By name, how many percent two rates are apart, where that is more than *above_percent*."""
    others = peak_figures(other)
    found = {
        name: percent_apart(rate, others[name][0]) for name, (rate, _) in peak_figures(one).items() if name in others
    }
    return {name: round(percent, 1) for name, percent in found.items() if percent > above_percent}


def percent_apart(one: float, other: float) -> float:
    """How many percent the greater of two rates exceeds the smaller by; infinite where only one is positive."""
    least, most = sorted((one, other))
    if least <= 0:
        return 0.0 if most <= 0 else float("inf")
    return 100 * (most / least - 1)


def roof_names(peaks: Peaks) -> frozenset[str]:
    """Names of the rates that limits rest on: multiply-adds, and the fastest way to move data in each level."""
    names = {f"{peak.precision} multiply-adds, {where}" for peak in peaks.compute for where in _WHERE}
    for tier in peaks.tiers:
        for place, where in enumerate(_WHERE):
            rates = {way: pair[place] or 0.0 for way, pair in tier.rates_gbytes_s.items()}
            names.add(f"{tier.tier} {max(rates, key=rates.__getitem__)}, {where}")
    return frozenset(names)


def unsettled_words(peaks: Peaks, among: Collection[str] | None = None) -> str:
    """Which of *peaks*, or of *among* alone, did not come out alike, by how much, and what to do; "" if all did."""
    found = {name: percent for name, percent in peaks.unsettled.items() if among is None or name in among}
    if not found:
        return ""
    apart = ", ".join(f"{name} {percent:.0f}%" for name, percent in found.items())
    looks = "two measurements" if peaks.measurements > 1 else "the two halves of the time"
    return f"{apart} between {looks}; `bakeoff target --remeasure` keeps the best"
