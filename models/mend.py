"""Mixed precision: which layers a variant should leave in fp32, tried by building it so and measuring it again.

The costs that a walk measured say which layers to leave alone first. How much that really brings is not a matter
of arithmetic (rounding errors are not independent, and one hides behind another until it is gone), so each proposal
is rebuilt and walked through, and the next one starts from what that walk found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from .walk import THRESHOLD_DB, Walk

__all__ = ["AGREEMENT", "MOST_KEPT", "Mend", "mend", "target_db"]

MOST_KEPT = 40
"""Nodes to leave in fp32 at most; beyond that the variant is hardly one."""

AGREEMENT = 0.998
"""Share of images with the same first class that counts as mended, where outputs score classes.

A point is what int8 may cost; most of it is left for what runtimes add, since the walk is through the plain engine.
"""

_ATTEMPTS = 5
_GAIN_DB = 6.0
_WORTH_DB = 3.0
"""What a proposal has to bring: half the power of the error gone."""
_SPELLABLE = re.compile(r"[^+:|,\s'\"]+")


@dataclass(frozen=True, kw_only=True)
class Mend:
    """A variant with some layers left in fp32, as it came out."""

    keep: tuple[str, ...]
    """Reference nodes left in fp32."""
    found: Walk
    """The walk through it."""
    attempts: int
    """Variants that were built to find it."""


def target_db(found: Walk) -> float:
    """The output ratio to reach, in dB: out of the red, and half the amplitude of the error that there is now."""
    return max(THRESHOLD_DB, (found.output_snr_db or 0.0) + _GAIN_DB)


def mend(
    found: Walk, rebuild: Callable[[tuple[str, ...]], Walk], *, kinds: Collection[str] | None = None
) -> Mend | None:
    """Leave the costliest layers of *found* in fp32 until its outputs reach `target_db` and `AGREEMENT`.

    *rebuild* builds the variant with the nodes that it is given left in fp32, and walks through it; *kinds* are the
    operators that it changes, where it does not change all: others are not worth a name. At most five are built, and at
    most `MOST_KEPT` nodes kept. Returns the first that reaches the goal, else the one with the best ratio; None where
    no layer has a cost, or no variant was worth it. Raises what *rebuild* raises.
    """
    wanted = target_db(found)
    best: Mend | None = None
    current = found
    keep: tuple[str, ...] = ()
    for attempt in range(1, _ATTEMPTS + 1):
        further = tuple(dict.fromkeys((*keep, *_to_keep(current, wanted, keep, kinds))))[:MOST_KEPT]
        if further == keep:
            break
        keep, current = further, rebuild(further)
        if best is None or _ratio(current) > _ratio(best.found):
            best = Mend(keep=keep, found=current, attempts=attempt)
        if _ratio(current) >= wanted:
            if _agrees(current):
                break
            wanted += _GAIN_DB
    return best if best is not None and _ratio(best.found) >= _ratio(found) + _WORTH_DB else None


def _to_keep(found: Walk, wanted: float, kept: Sequence[str], kinds: Collection[str] | None) -> list[str]:
    """Nodes of as many of the costliest layers as have to go, by their costs, for the outputs to reach *wanted* dB.

    Some quantizers round what a quantized layer writes, whoever reads it: where keeping its readers (*kept* already)
    did not help, the layer itself is kept too.
    """
    guilty = [row for row in found.worst() if row.cost_share and _spellable((*row.keep, *filter(None, [row.node])))]
    counts = range(1, len(guilty))
    enough = (count for count in counts if (found.predicted_snr_db(count) or wanted) >= wanted)
    operators = {row.node: row.op.partition("+")[0] for row in found.layers}
    names: list[str] = []
    for row in guilty[: next(enough, len(guilty))]:
        readers = [name for name in row.keep if kinds is None or operators.get(name) in {None, *kinds}]
        names.extend(readers)
        if row.node and set(readers) <= set(kept) and (kinds is None or operators[row.node] in kinds):
            names.append(row.node)
    return names


def _spellable(names: Sequence[str]) -> bool:
    return all(_SPELLABLE.fullmatch(name) for name in names)


def _ratio(found: Walk) -> float:
    if any(output.broken for output in found.outputs):
        return -float("inf")
    return float("inf") if found.output_snr_db is None else found.output_snr_db


def _agrees(found: Walk) -> bool:
    return found.top1_agreement is None or found.top1_agreement >= AGREEMENT
