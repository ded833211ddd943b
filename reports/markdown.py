"""A summary in Markdown, short enough for a comment on a pull request.

Names and reasons come from anywhere, so they stand in code spans: nothing in them becomes a link, a mention, markup
or the end of a table cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from . import facts, prices, verdicts, words
from .doubts import doubts
from .reasons import remarks
from .recipes import steps_of
from .results import Run
from .tradeoff import Tradeoff, cost_words, tradeoffs
from .tuning import payback_words, share_words, source_words, space_words, tuned_cells
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
    yield f"| variant | setting | fastest | median ms (interval) | over {view.over} | next |"
    yield "|---|---|---|---|---|---|"
    for comparison in view.comparisons:
        yield _row(comparison, several)
    yield ""


def _champion(view: CellView | None, cost: bool) -> str:
    if view is None:
        return words.MISSING
    marks = f" ({', '.join(code(mark.label) for mark in view.marks)})" if view.marks else ""
    gain = view.speed_up
    speed = f", {words.times(gain.value)} {gain.reference}" if gain and not gain.is_baseline else ""
    price = f"; {cost_words(view)}" if cost else ""
    return f"{code(steps_of(view.cell.variant))} on {code(view.label)}{marks}, {_figure(view)} ms{speed}{price}"


def _within(trade: Tradeoff) -> str:
    if trade.random_weights:
        return "only speed can be told: random weights"
    if trade.within is None:
        return "none is known" if trade.priced else "not measured"
    return "<br>".join(_champion(leader, True) for leader in trade.within.leaders)


def _cost_table(trades: Sequence[Tradeoff]) -> Iterator[str]:
    yield "| model | setting | fastest | fastest within 1 point of fp32 |"
    yield "|---|---|---|---|"
    for trade in trades:
        priced = trade.priced and not trade.random_weights
        best = "<br>".join(_champion(leader, priced) for leader in trade.fastest.leaders)
        weights = " (random weights)" if trade.random_weights else ""
        yield f"| {code(trade.model)}{weights} | {trade.setting.title} | {best} | {_within(trade)} |"
    yield ""


def _front_table(trade: Tradeoff) -> Iterator[str]:
    measure = trade.measure.title if trade.measure else ""
    yield f"Front of {code(trade.model)}, {trade.setting.title}, fastest first, by {measure}:"
    yield ""
    yield "| variant | backend | median ms (interval) | accuracy (interval) | against fp32 | fidelity | on disk |"
    yield "|---|---|---|---|---|---|---|"
    for view in trade.leading:
        found = view.cell.accuracy
        share = f"{prices.accuracy(found)} ({prices.accuracy_interval(found)})" if found else words.MISSING
        loss = f"{prices.points(found.vs_fp32)}, {prices.versus(found)}" if found else words.MISSING
        yield (
            f"| {code(steps_of(view.cell.variant))} | {_name(view)} | {_figure(view)} | {share} | {loss} "
            f"| {prices.fidelity(view.cell.fidelity)} | {words.size(view.cell.artifact_bytes)} |"
        )
    yield ""


def _costs(view: RunView) -> Iterator[str]:
    trades = tradeoffs(view)
    if not trades:
        return
    yield from _cost_table(trades)
    for trade in trades:
        if trade.front and not trade.random_weights:
            yield from _front_table(trade)
    found = [(trade, remark) for trade in trades for remark in remarks(trade, view.floor, view.run.target.cpu)]
    for trade, remark in found:
        yield f"- {code(trade.model)}: {_plain(remark.text)}"
    if found:
        yield ""


def _tuning(view: RunView) -> Iterator[str]:
    found = tuned_cells(view)
    for one in found:
        cell, facts_of = one.view.cell, one.facts
        cost = f"{words.seconds(facts_of.seconds)}, {words.plural(facts_of.trials, 'trial')}"
        yield (
            f"- {code(cell.variant)}, {words.plural(cell.threads, 'thread')}: {code(cell.backend)} tuned "
            f"{_plain(share_words(facts_of))}; space {code(space_words(facts_of))}; records "
            f"{code(source_words(facts_of))}; {cost}; {_plain(payback_words(one))}"
        )
    if found:
        yield ""


def _suspicious(view: RunView) -> Iterator[str]:
    doubtful = [found for found in view.measured if found.cell.suspicious]
    if doubtful:
        yield f"**Suspicious:** {words.plural(len(doubtful), 'cell')}"
        yield ""
        for doubt in doubts(view):
            yield f"- {code(doubt.who) if doubt.key else doubt.who}: {code(doubt.reason)}"
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
    yield from _costs(view)
    if view.comparisons:
        yield from _verdict_table(view)
    yield from _tuning(view)
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
