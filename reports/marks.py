"""Words that must stand beside a cell's figure wherever it is shown, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from . import words
from .intervals import interval_of
from .recipes import recipe
from .results import Cell, ExecutedFacts

__all__ = ["Mark", "cell_marks", "not_interleaved", "precision_asked", "ran_as_asked"]

_EXECUTES = {"int8-dynamic": "int8"}
"""The precision that heavy operators should execute in, where the variant calls it otherwise."""

_STORED = ("int8-weights", "int4-weights")
"""Precisions of storage: whatever such a variant executes in is what was asked."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One mark: *label* stands beside the figure, *why* is the sentence behind it."""

    code: str
    """"untuned", "suspicious", "not-converged", ...; a mark that a backend itself sets is "backend"."""
    label: str
    why: str
    level: Literal["note", "caution"] = "note"


def precision_asked(variant: str) -> str:
    """The precision that a variant's name asks for: "resnet18@channel50+int8" asks for int8, no word for fp32."""
    return recipe(variant).precision


def ran_as_asked(cell: Cell) -> bool:
    """Whether the heavy operators executed in the precision that the variant asks for, as far as the run says.

    Weights stored in few bits are meant to be computed in floating point; nodes that `keep` names are meant to make
    the whole mixed.
    """
    asked = precision_asked(cell.variant)
    if cell.executed is None or asked in _STORED:
        return True
    ran = cell.executed.precision
    kept = any(step.keep for step in recipe(cell.variant).steps)
    # none: there was no heavy operator to speak of
    return ran in (_EXECUTES.get(asked, asked), "none") or (kept and ran.startswith("mixed("))


def _sampling_marks(cell: Cell) -> Iterator[Mark]:
    if cell.suspicious:
        why = "; ".join(cell.suspicious_reasons) or "no reason was recorded"
        yield Mark(
            code="suspicious", label="suspicious", why=f"Measured under doubtful conditions: {why}.", level="caution"
        )
    if interval_of(cell) is None:
        yield Mark(code="no-interval", label="no interval", why="Too few samples for an interval.", level="caution")
    elif cell.ci_confidence is not None and cell.ci_confidence < 0.95:
        covers = words.percent(cell.ci_confidence, 0)
        why = f"Few blocks fitted under the time cap: the interval covers {covers}, not 95%."
        yield Mark(code="weak-interval", label=f"{covers} interval", why=why)
    if cell.converged is False:
        why = "Sampling ended at its time cap before the interval was as narrow as asked."
        yield Mark(code="not-converged", label="not converged", why=why)
    if cell.warmup_steady is False:
        why = "Warm-up ended at its cap before the latency had become steady."
        yield Mark(code="warm-up", label="unsteady warm-up", why=why)


def _execution_marks(cell: Cell) -> Iterator[Mark]:
    ran = cell.executed
    if ran is None:
        return
    for word in ran.marks:
        yield Mark(code="untuned" if word.endswith("untuned") else "backend", label=word, why=_why(word, ran))
    if ran.fallbacks:
        why = f"Parts ran elsewhere than asked: {'; '.join(ran.fallbacks)}."
        yield Mark(code="fallback", label="fallback", why=why, level="caution")
    if ran.device != cell.device:
        why = f"Asked for {cell.device}, ran on {ran.device}."
        yield Mark(code="device", label=f"ran on {ran.device}", why=why, level="caution")
    asked = precision_asked(cell.variant)
    if not ran_as_asked(cell):
        why = f"Asked for {asked}, executed in {ran.precision}."
        yield Mark(code="precision", label=f"ran {ran.precision}", why=why, level="caution")
    if ran.threads != cell.threads:
        why = f"Asked for {cell.threads}, the runtime says it uses {ran.threads}."
        yield Mark(code="threads", label=words.plural(ran.threads, "thread"), why=why, level="caution")
    elif ran.threads_seen is not None and ran.threads_seen > cell.threads:
        why = f"Asked for {cell.threads}, the kernel saw {ran.threads_seen} threads burn CPU."
        yield Mark(code="threads", label=f"{ran.threads_seen} threads seen", why=why, level="caution")


def _why(word: str, ran: ExecutedFacts) -> str:
    if word == "untuned":
        return "The backend ran its default schedule, which nobody ships."
    if word.endswith("untuned") and ran.tuning is not None:
        return f"Kernels with the default schedule, which nobody ships: {', '.join(ran.tuning.untuned)}."
    return "Set by the backend."


def cell_marks(cell: Cell) -> tuple[Mark, ...]:
    """The marks that *cell* carries by itself; none for a cell without a figure."""
    if cell.status != "ok":
        return ()
    return (*_execution_marks(cell), *_sampling_marks(cell))


def not_interleaved(other: str) -> Mark:
    """The mark of a figure that is compared with a cell (named by *other*) it did not take turns with."""
    why = f"Measured apart from {other}: a drift of the machine between the two is part of the comparison."
    return Mark(code="not-interleaved", label=f"not interleaved with {other}", why=why, level="caution")
