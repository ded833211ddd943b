"""What tuning brought and cost: share of kernels, trials, time, and after how many inferences it has paid."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import words
from .results import TuningFacts
from .speedups import took_turns
from .views import CellView, Comparison, RunView

__all__ = [
    "RIVAL",
    "Payback",
    "TunedCell",
    "payback_words",
    "share_words",
    "source_words",
    "space_words",
    "tuned_cells",
]

RIVAL = "onnxruntime"
"""What tuning has to pay against: what a user runs who does not tune."""


@dataclass(frozen=True, kw_only=True)
class Payback:
    """Whether a tuned cell gains on its rival, and after how many inferences that has paid for the tuning."""

    rival: CellView
    inferences: int | None
    """None where the tuned cell is not faster."""
    fewest: int | None
    most: int | None
    """Bounds of *inferences* from the intervals of both; *most* is None where they do not tell the two apart."""
    interleaved: bool
    """Whether the two took turns."""


@dataclass(frozen=True, kw_only=True)
class TunedCell:
    """A measured cell with schedules from a search."""

    view: CellView
    comparison: Comparison
    facts: TuningFacts
    payback: Payback | None
    """None where the rival has no figure beside it."""


def tuned_cells(view: RunView) -> tuple[TunedCell, ...]:
    """All tuned cells with a figure, in the order of the run."""
    found = []
    for comparison in view.comparisons:
        rivals = [other for other in comparison.measured if other.cell.backend == RIVAL]
        for one in comparison.measured:
            facts = one.cell.executed.tuning if one.cell.executed else None
            if facts is not None:
                rival = next((other for other in rivals if other.cell.device == one.cell.device), None)
                paid = None if rival is None else _payback(one, rival, facts.seconds, view.floor)
                found.append(TunedCell(view=one, comparison=comparison, facts=facts, payback=paid))
    return tuple(found)


def _payback(tuned: CellView, rival: CellView, seconds: float, floor: float) -> Payback:
    own, other = tuned.interval, rival.interval
    gain = rival.median_ms - tuned.median_ms
    fewest = most = None
    if own is not None and other is not None:
        own = own.widened(floor)  # what lies within the noise floor is no gain
        fewest, most = _count(seconds, other.high - own.low), _count(seconds, other.low - own.high)
    return Payback(
        rival=rival,
        inferences=_count(seconds, gain),
        fewest=fewest,
        most=most,
        interleaved=took_turns(tuned.cell, rival.cell),
    )


def _count(seconds: float, gain_ms: float) -> int | None:
    return math.ceil(seconds * 1e3 / gain_ms) if gain_ms > 0 else None


def payback_words(found: TunedCell) -> str:
    """One sentence without its full stop: "has paid against onnxruntime after 61,000 inferences (48,000 to 82,000)"."""
    paid = found.payback
    if paid is None:
        return f"{RIVAL} was not measured beside it"
    if found.facts.seconds <= 0:
        return "its records do not say what they cost"
    apart = "" if paid.interleaved else "; the two were not interleaved"
    if paid.most is None or paid.inferences is None:
        slower = paid.fewest is None and paid.inferences is None
        word = f"never pays: it is slower than {RIVAL}" if slower else f"cannot be told apart from {RIVAL}"
        return f"{word}{apart}"
    bounds = f"{_rounded(paid.fewest)} to {_rounded(paid.most)}"
    return f"has paid against {RIVAL} after {_rounded(paid.inferences)} inferences ({bounds}){apart}"


def _rounded(count: int | None) -> str:
    """Three significant digits are more than such a figure is good for."""
    if count is None:
        return words.MISSING
    if count < 1000:
        return f"{count:,}"
    unit = 10 ** (len(str(count)) - 3)
    return f"{round(count / unit) * unit:,}"


def share_words(facts: TuningFacts) -> str:
    """ "34 of 36 kernels, 99.8% of the operations"."""
    return f"{facts.tuned} of {facts.tasks} kernels, {words.percent(facts.flops_share)} of the operations"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" if len(counts) > 1 else name for name, count in sorted(counts.items()))


def space_words(facts: TuningFacts) -> str:
    """The spaces that were searched, with the number of kernels where there are several: "bakeoff 30, stock 4"."""
    return _counted(facts.spaces) or words.MISSING


def source_words(facts: TuningFacts) -> str:
    """Where the records come from."""
    return _counted(facts.sources) or words.MISSING
