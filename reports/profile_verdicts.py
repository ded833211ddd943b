"""What a profile comes to, in sentences: who is fastest, how near to the machine's limit, and what holds it back."""

from __future__ import annotations

from . import words
from .intervals import Interval
from .profile_views import Sitting
from .profiles import BackendProfile

__all__ = [
    "amount",
    "change",
    "coverage_sentence",
    "interval_of",
    "mapping_words",
    "median_words",
    "profile_verdict",
    "reach_words",
    "remarks",
    "signed",
]

_SHOWN = 2
"""Failures of one check that are told in full."""
_GOOD = 0.95
"""Share of the time whose nodes the runtime itself has to tell for a mapping to be called well founded."""


def median_words(profile: BackendProfile) -> str:
    """ "8.12 ms (8.05 to 8.20)"."""
    return f"{words.ms(profile.median_ms)} ms ({interval_of(profile)})"


def interval_of(profile: BackendProfile) -> str:
    """ "8.05 to 8.20", milliseconds."""
    bounds = Interval(low=profile.ci_low_ms, high=profile.ci_high_ms)
    return words.interval_ms(bounds, profile.median_ms)


def signed(part: float, whole: float) -> str:
    """*part* of *whole* as a percentage with its sign; nothing is +0.0%."""
    return f"{round(100 * part / whole, 1) or 0.0:+.1f}%" if whole > 0 else words.MISSING


def change(ms: float) -> str:
    """Milliseconds more or less, with their sign."""
    return f"{'+' if ms >= 0 else ''}{amount(ms)}"


def amount(ms: float | None) -> str:
    """Milliseconds, which may be below zero: where rows tell more than the median."""
    return words.ms(ms) if ms is None or ms >= 0 else f"−{words.ms(-ms)}"  # noqa: RUF001


def reach_words(profile: BackendProfile) -> str:
    """ "64% of this machine's limit, 5.2 ms"; "" where the limit is not known."""
    if profile.limit_ms is None or profile.efficiency is None:
        return ""
    return f"{words.percent(profile.efficiency, 0)} of this machine's limit, {words.ms(profile.limit_ms)} ms"


def profile_verdict(sitting: Sitting) -> tuple[str, ...]:
    """Who is fastest and how near to the limit that is, then what holds it back most; one sentence each."""
    if not sitting.profiles:
        return ("No backend could be profiled.",)
    best = sitting.profiles[0]
    said = [_fastest(sitting)]
    reached = reach_words(best)
    said += [f"{best.backend} reaches {reached}."] if reached else []
    if best.refused:
        said.append(f"Which layers take the time of {best.backend} is not known: a check refused its mapping.")
    if best.findings:
        said.append(f"What holds {best.backend} back most: {best.findings[0].words}.")
    else:
        said.append(f"No rule found what holds {best.backend} back.")
    return tuple(said)


def _fastest(sitting: Sitting) -> str:
    best, others = sitting.profiles[0], sitting.profiles[1:]
    leaders = sitting.leaders
    if len(leaders) > 1:
        names = words.listed([f"{found.backend} ({words.ms(found.median_ms)} ms)" for found in leaders])
        return f"{names} are not told apart: their intervals meet."
    if not others:
        return f"{best.backend} takes {median_words(best)}; nobody else was profiled."
    times = words.times(others[0].median_ms / best.median_ms) if best.median_ms > 0 else words.MISSING
    return f"{best.backend} is fastest with {median_words(best)}, {times} as fast as {others[0].backend}."


def mapping_words(profile: BackendProfile) -> str:
    """How the checks of the mapping went: "5 of 5 checks hold"."""
    held = sum(profile.checks.values())
    return f"{held} of {words.plural(len(profile.checks), 'check')} hold{'s' if len(profile.checks) == 1 else ''}"


def coverage_sentence(sitting: Sitting) -> str:
    """How far the layers below can be trusted, for all backends together."""
    refused = [found.backend for found in sitting.profiles if found.refused]
    sound = [found for found in sitting.profiles if not found.refused]
    said = []
    if sound:
        least = min(sound, key=lambda found: found.shares.anchored)
        anchored = words.percent(least.shares.anchored)
        unmapped = words.percent(max(found.shares.unmapped for found in sound))
        accounted = max(sound, key=lambda found: abs((found.accounted or 1.0) - 1.0)).accounted or 1.0
        overhead = max(sound, key=lambda found: abs(found.overhead - 1))
        who = f"In {least.backend}" if len(sound) == 1 else "In every backend"
        weak = "" if least.shares.anchored >= _GOOD else f" (least in {least.backend})"
        said.append(
            f"{who} evidence ties at least {anchored} of the time{weak} to nodes of the graph; at most {unmapped} is "
            "unmapped. Rows and the time between them differ from the median, the cost of profiling added, by "
            f"{signed(accounted - 1, 1)} at most; profiling costs "
            f"{signed(overhead.overhead - 1, 1)} at most."
        )
    if refused:
        said.append(
            f"Refused: a check failed for {words.listed(refused)}, so {'its' if len(refused) == 1 else 'their'} rows "
            "are in no layer below."
        )
    return " ".join(said)


def remarks(sitting: Sitting) -> tuple[str, ...]:
    """What must stand beside the figures: failed checks, doubts, notes, and pairs that no check tells apart."""
    said: list[str] = []
    for profile in sitting.profiles:
        for check, failures in profile.failures.items():
            more = f" (and {len(failures) - _SHOWN} more)" if len(failures) > _SHOWN else ""
            said.append(f"{profile.backend} refused, {check}: {'; '.join(failures[:_SHOWN])}{more}.")
        said += [f"{profile.backend}: {note}." for note in profile.notes]
        if profile.energy_mj is not None:
            said.append(f"{profile.backend}: {words.ms(profile.energy_mj)} mJ an inference, all of the processor.")
        if profile.exchangeable:
            pairs = words.plural(len(profile.exchangeable), "pair")
            said.append(
                f"{profile.backend}: for {pairs} of heavy nodes there is the runtime's word alone; no check would tell "
                f"them apart, {' from '.join(profile.exchangeable[0])} for one."
            )
    for reason in dict.fromkeys(reason for profile in sitting.profiles for reason in profile.suspicious):
        who = [profile.backend for profile in sitting.profiles if reason in profile.suspicious]
        said.append(f"{words.listed(who)} suspicious: {reason}.")
    return tuple(said)
