"""A summary in Markdown, short enough for a comment on a pull request.

Names and reasons come from anywhere, so they stand in code spans: nothing in them becomes a link, a mention, markup
or the end of a table cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from . import facts, verdicts, words
from .results import Run
from .views import CellView, Comparison, RunView, run_view

__all__ = ["code", "summary_markdown"]

_LONGEST = 300


def code(text: str) -> str:
    """*text* as a code span that also survives inside a table cell."""
    flat = re.sub(r"\s+", " ", text).strip()
    short = flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"
    safe = short.replace("`", "'").replace("|", "\\|")
    return f"`{safe}`" if safe else ""


def _name(view: CellView) -> str:
    marks = f" ({', '.join(code(mark.label) for mark in view.marks)})" if view.marks else ""
    return f"{code(view.label)}{marks}"


def _figure(view: CellView) -> str:
    return f"{words.ms(view.median_ms)} ({words.interval_ms(view.interval, view.median_ms)})"


def _gain(view: CellView) -> str:
    gain = view.speed_up
    if gain is None:
        return words.MISSING
    if gain.is_baseline:
        return "baseline"
    bounds = f" ({words.times(gain.interval.low)} to {words.times(gain.interval.high)})" if gain.interval else ""
    return f"{words.times(gain.value)}{bounds}"


def _row(comparison: Comparison, several: bool) -> str:
    verdict = comparison.verdict
    weights = " (random weights)" if comparison.random_weights else ""
    setting = comparison.setting.title if several else words.plural(comparison.setting.threads, "thread")
    head = f"| {code(comparison.variant)}{weights} | {setting}"
    if verdict.best is None:
        return f"{head} | nothing was measured | {words.MISSING} | {words.MISSING} | {words.MISSING} |"
    word = {"tie": "**tie:** ", "only": "only one measured: ", "undecided": "undecided: "}.get(verdict.outcome, "")
    names = "<br>".join(_name(leader) for leader in verdict.leaders)
    figures = "<br>".join(_figure(leader) for leader in verdict.leaders)
    gains = "<br>".join(_gain(leader) for leader in verdict.leaders)
    behind = words.MISSING
    if verdict.next is not None and verdict.lead is not None:
        behind = f"{_name(verdict.next)} {words.times(verdict.lead.low)} to {words.times(verdict.lead.high)} the time"
    return f"{head} | {word}{names} | {figures} | {gains} | {behind} |"


def _verdict_table(view: RunView) -> Iterator[str]:
    several = len({(comparison.setting.scenario, comparison.setting.batch) for comparison in view.comparisons}) > 1
    yield "| variant | setting | fastest | median ms (interval) | over eager | next |"
    yield "|---|---|---|---|---|---|"
    for comparison in view.comparisons:
        yield _row(comparison, several)
    yield ""


def _suspicious(view: RunView) -> Iterator[str]:
    doubtful = [found for found in view.measured if found.cell.suspicious]
    if doubtful:
        yield f"**Suspicious:** {words.plural(len(doubtful), 'cell')}"
        yield ""
        for found in doubtful:
            reasons = "; ".join(found.cell.suspicious_reasons) or "no reason was recorded"
            yield f"- {code(found.cell.key)}: {code(reasons)}"
        yield ""


def _failures(view: RunView) -> Iterator[str]:
    if not view.failures:
        return
    yield f"**Without a figure:** {words.plural(len(view.failures), 'cell')}"
    yield ""
    for found in view.failures:
        cell = found.cell
        reason = code(cell.reason or "no reason was recorded")
        blame = f"; looks like the fault of {code(str(cell.blame))}" if cell.blame not in (None, "unknown") else ""
        script = f"; reproduce with {code(cell.reproducer)}" if cell.reproducer else ""
        yield f"- {code(cell.key)} {found.status}: {reason}{blame}{script}"
    yield ""


def _run(run: Run) -> Iterator[str]:
    view = run_view(run)
    yield f"### {code(run.target.name)}"
    yield ""
    yield f"**{_plain(verdicts.headline(view))}**"
    yield ""
    if run.status != "finished":
        yield f"This run is not finished ({run.status})."
        yield ""
    if view.comparisons:
        yield from _verdict_table(view)
    yield from _suspicious(view)
    yield from _failures(view)
    yield (
        f"{words.plural(len(view.measured), 'cell')} measured. Noise floor {facts.noise_words(run)}. "
        f"Run {code(run.id)} of {words.when(run.created_at)}, bakeoff {code(run.bakeoff_version)}. "
        f"Reproduce with {code(run.command)}."
    )
    yield ""


def _plain(sentence: str) -> str:
    """*sentence* with all that Markdown or HTML would act on escaped."""
    safe = sentence.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;\u200b")
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", safe)


def summary_markdown(runs: Sequence[Run]) -> str:
    """The verdicts of *runs* with intervals, ties, marks and failures; GitHub-flavoured Markdown."""
    lines = ["## bakeoff", ""]
    for run in runs:
        lines.extend(_run(run))
    return "\n".join(lines).rstrip() + "\n"
