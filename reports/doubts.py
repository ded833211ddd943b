"""Why cells are suspicious, each reason said once however many cells share it."""

from __future__ import annotations

from dataclasses import dataclass

from . import words
from .views import RunView

__all__ = ["Doubt", "doubts"]

_NAMED = 4
"""A reason that more cells than this share names their number instead of each of them."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """One reason, and whom it concerns."""

    who: str
    """The key of a cell, "all 48 cells" or "12 of 48 cells"."""
    key: bool
    """Whether *who* is a key."""
    reason: str


def doubts(view: RunView) -> tuple[Doubt, ...]:
    """All reasons in the order in which they first appear."""
    sharing: dict[str, list[str]] = {}
    for found in view.measured:
        if found.cell.suspicious:
            for reason in found.cell.suspicious_reasons or ("no reason was recorded",):
                sharing.setdefault(reason, []).append(found.cell.key)
    return tuple(
        doubt for reason, keys in sharing.items() for doubt in _doubts(reason, list(dict.fromkeys(keys)), view)
    )


def _doubts(reason: str, keys: list[str], view: RunView) -> list[Doubt]:
    of = len(view.measured)
    if len(keys) == of > 1:
        return [Doubt(who=f"all {words.plural(of, 'cell')}", key=False, reason=reason)]
    if len(keys) > _NAMED:
        return [Doubt(who=f"{len(keys):,} of {words.plural(of, 'cell')}", key=False, reason=reason)]
    return [Doubt(who=key, key=True, reason=reason) for key in keys]
