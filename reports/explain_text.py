"""Why a cell takes its time, as a ranked list in the terminal: for `bakeoff explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import words
from .profiles import Explanation, Finding

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.text import Text

__all__ = ["explanation_report"]

_SHOWN_NODES = 6


def explanation_report(found: Explanation, top: int) -> Group:
    """The *top* costliest findings, each with its evidence, its nodes and what to try."""
    from rich.console import Group
    from rich.text import Text

    head = Text(_clean(f"{found.cell}: {words.ms(found.median_ms)} ms"), style="bold")
    if found.against is not None:
        head.append(_clean(f", against {words.ms(found.against_ms)} ms of {found.against}"))
    parts: list[RenderableType] = [head]
    for place, finding in enumerate(found.findings[:top], start=1):
        parts.append(_finding(place, finding))
    left = len(found.findings) - top
    if left > 0:
        rest = sum(finding.ms for finding in found.findings[top:] if not finding.once)
        parts.append(Text(f"{words.plural(left, 'finding')} more, {words.ms(rest)} ms together", style="dim"))
    if not found.findings:
        parts.append(Text("no rule found anything that holds it back"))
    return Group(*parts)


def _clean(text: str) -> str:
    """*text* without characters that would steer the terminal; names come from anywhere."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _finding(place: int, finding: Finding) -> Text:
    from rich.text import Text

    once = " once" if finding.once else ""
    text = Text(f"{place}. {words.ms(finding.ms)} ms{once} ", style="bold")
    text.append(_clean(finding.words), style="not bold")
    if finding.nodes:
        more = len(finding.nodes) - _SHOWN_NODES
        shown = ", ".join(finding.nodes[:_SHOWN_NODES]) + (f" and {more} more" if more > 0 else "")
        text.append(f"\n   nodes: {_clean(shown)}", style="not bold dim")
    return text.append(f"\n   try: {_clean(finding.advice)}", style="not bold green")
