"""What a profile comes to, in sentences: who is fastest, how near to the machine's limit, and what holds it back."""

from __future__ import annotations

from . import words
from .intervals import Interval
from .profile_views import Sitting
from .profiles import BackendProfile, Finding

__all__ = ["coverage_sentence", "finding_words", "mapping_words", "median_words", "profile_verdict", "reach_words"]

_GOOD = 0.95
"""Share of the time whose nodes the runtime itself has to tell for a mapping to be called well founded."""


def median_words(profile: BackendProfile) -> str:
    """ "8.12 ms (8.05 to 8.20)"."""
    bounds = Interval(low=profile.ci_low_ms, high=profile.ci_high_ms)
    return f"{words.ms(profile.median_ms)} ms ({words.interval_ms(bounds, profile.median_ms)})"


def reach_words(profile: BackendProfile) -> str:
    """ "64% of this machine's limit, 5.2 ms"; "" where the limit is not known."""
    if profile.limit_ms is None or profile.efficiency is None:
        return ""
    return f"{words.percent(profile.efficiency, 0)} of this machine’s limit, {words.ms(profile.limit_ms)} ms"


def finding_words(finding: Finding) -> str:
    """ "0.81 ms: layer1.conv took ..."."""
    return f"{words.ms(finding.ms)} ms{' once' if finding.once else ''}: {finding.words}"


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
        said.append(f"What holds {best.backend} back most, {finding_words(best.findings[0])}.")
    else:
        said.append(f"No rule found what holds {best.backend} back.")
    return tuple(said)


def _fastest(sitting: Sitting) -> str:
    best, others = sitting.profiles[0], sitting.profiles[1:]
    leaders = sitting.leaders
    if len(leaders) > 1:
        names = words.listed([f"{found.backend} ({words.ms(found.median_ms)} ms)" for found in leaders])
        return f"{names} are fastest; their intervals meet, so they are not told apart."
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
        residual = max((found.residual_ms / found.median_ms for found in sound if found.median_ms > 0), key=abs, default=0)
        overhead = max((found.overhead - 1 for found in sound), key=abs)
        who = "in every backend" if len(sound) > 1 else f"in {least.backend}"
        weak = "" if least.shares.anchored >= _GOOD else f", least in {least.backend}"
        said.append(
            f"Evidence says which nodes at least {anchored} of the time belongs to {who}{weak}; at most {unmapped} is "
            f"unmapped. Rows and median without the profiler differ by {_signed(residual)} at most; profiling costs "
            f"{_signed(overhead)} at most."
        )
    if refused:
        said.append(
            f"Refused: a check failed for {words.listed(refused)}, so {'its' if len(refused) == 1 else 'their'} rows "
            "are in no layer below."
        )
    return " ".join(said)


def _signed(part: float) -> str:
    return f"{100 * part:+.1f}%"
