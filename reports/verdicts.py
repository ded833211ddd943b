"""Verdicts in words, and how often each backend leads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from . import words
from .views import Comparison, RunView, Verdict

__all__ = ["Tally", "headline", "tallies", "verdict_sentence"]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How often one backend leads."""

    backend: str
    wins: int
    """Comparisons in which it is fastest and nobody ties with it."""
    ties: int
    """Comparisons in which it is one of several that cannot be told apart."""
    of: int
    """Comparisons with two or more measured cells."""

    @property
    def leads(self) -> int:
        """Wins and ties together."""
        return self.wins + self.ties


def _contested(comparisons: Sequence[Comparison]) -> list[Comparison]:
    return [comparison for comparison in comparisons if comparison.verdict.outcome in ("fastest", "tie")]


def tallies(view: RunView) -> tuple[Tally, ...]:
    """Every backend that was measured in a contest, the most frequent leader first."""
    contested = _contested(view.comparisons)
    wins: Counter[str] = Counter()
    ties: Counter[str] = Counter()
    for comparison in contested:
        counter = wins if comparison.verdict.outcome == "fastest" else ties
        counter.update({leader.cell.backend for leader in comparison.verdict.leaders})
    backends = {cell.cell.backend for comparison in contested for cell in comparison.measured}
    found = [Tally(backend=name, wins=wins[name], ties=ties[name], of=len(contested)) for name in backends]
    return tuple(sorted(found, key=lambda tally: (-tally.leads, -tally.wins, tally.backend)))


def headline(view: RunView) -> str:
    """The run in one sentence."""
    if not view.measured:
        return "No cell of this run has a figure."
    ranked = tallies(view)
    if not ranked:
        return "No two cells of this run can be compared: there is no fastest backend to name."
    first = ranked[0]
    names = [tally.backend for tally in ranked if (tally.leads, tally.wins) == (first.leads, first.wins)]
    how = "fastest" if first.ties == 0 else "tied for fastest" if first.wins == 0 else "fastest or tied"
    verb, each = ("is", "") if len(names) == 1 else ("are", "each ")
    return f"{words.listed(names)} {verb} {each}{how} in {first.leads} of {words.plural(first.of, 'comparison')}."


def verdict_sentence(verdict: Verdict) -> str:
    """One verdict in words, with intervals and marks."""
    best = verdict.best
    if best is None:
        return "Nothing was measured."
    figure = f"{words.ms(best.median_ms)} ms ({words.interval_ms(best.interval, best.median_ms)} ms)"
    if verdict.outcome == "undecided":
        return f"Undecided: {best.marked_label} has the lowest median, {words.ms(best.median_ms)} ms, but no interval."
    if verdict.outcome == "only":
        return f"Only {best.marked_label} was measured: {figure}."
    if verdict.outcome == "tie":
        names = words.listed([leader.marked_label for leader in verdict.leaders])
        start = f"Tie between {names}; the lowest median is {figure}"
    else:
        start = f"{best.marked_label} is fastest: {figure}"
    if verdict.next is None or verdict.lead is None:
        return f"{start}."
    behind = f"{words.times(verdict.lead.low)} to {words.times(verdict.lead.high)} the time"
    return f"{start}; {verdict.next.marked_label} takes {behind}."
